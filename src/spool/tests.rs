use super::*;
use crate::{
    content::ExternalPart,
    media::{FromMatrix, SealKey, Sealed, ToMatrix, ToMimi},
};

const SEGMENT_ON_DISK: u64 = (SEGMENT + TAG_LEN) as u64;

fn limits() -> SpoolLimits {
    SpoolLimits { file: 1 << 20, total: 1 << 21 }
}

fn open(limits: SpoolLimits) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let (spool, removed) = Spool::open(&dir.path().join("spool"), limits).unwrap();
    assert_eq!(removed, 0);
    (dir, spool)
}

fn seal() -> ToMimi {
    ToMimi::new(FromMatrix::Plain, SealKey::from_random([1; 16], [2; 12])).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("spool")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn read(spooled: &Spooled) -> Vec<u8> {
    let mut all = Vec::new();
    spooled.reader().read_to_end(&mut all).unwrap();
    let mut chunks = spooled.reader();
    let mut joined = Vec::new();
    while let Some(chunk) = chunks.next_chunk().unwrap() {
        assert!(chunk.len() <= SEGMENT);
        joined.extend(chunk);
    }
    assert!(joined == all);
    all
}

/// A file for MIMI: sealed, spooled and read.
fn asset(spool: &Spool, text: &[u8]) -> (Sealed, Vec<u8>) {
    let mut filling = spool.begin(seal()).unwrap();
    text.chunks(10_000).for_each(|chunk| filling.write(chunk).unwrap());
    let (spooled, sealed) = filling.finish().unwrap();
    assert_eq!(spooled.bytes(), sealed.asset_bytes());
    (sealed, read(&spooled))
}

fn part(sealed: &Sealed) -> ExternalPart {
    let mut part = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
    sealed.describe(&mut part);
    part
}

#[test]
fn a_file_is_read_as_it_came_out_of_its_pipe() {
    let (_dir, spool) = open(limits());
    for len in [0, 1, SEGMENT - TAG_LEN, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 7] {
        let text: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (sealed, asset) = asset(&spool, &text);
        let mut back = spool.begin(ToMatrix::new(&part(&sealed), 0, None).unwrap()).unwrap();
        back.write(&asset).unwrap();
        let (spooled, opened) = back.finish().unwrap();
        assert_eq!((opened.bytes(), spooled.bytes()), (len as u64, len as u64));
        assert!(read(&spooled) == text, "{len} bytes");
        // Again, for a second try of the upload.
        assert!(read(&spooled) == text, "{len} bytes");
    }
    assert_eq!(spool.bytes(), 0, "all is given back");
}

#[test]
fn the_disk_never_sees_plaintext_and_the_folder_no_name() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, spool) = open(limits());
    let text = b"what nobody else may read ".repeat(8000);
    let (sealed, asset) = asset(&spool, &text);
    let mut filling = spool.begin(ToMatrix::new(&part(&sealed), 0, None).unwrap()).unwrap();
    filling.write(&asset).unwrap();
    let mode = fs::metadata(dir.path().join("spool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(filling.sealed.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()), Vec::<String>::new());
    let (spooled, _) = filling.finish().unwrap();
    assert_eq!(names(dir.path()), Vec::<String>::new());
    let mut disk = vec![0; usize::try_from(spool.bytes()).unwrap()];
    spooled.0.file.read_exact_at(&mut disk, 0).unwrap();
    assert_eq!(spooled.0.file.metadata().unwrap().len(), spool.bytes());
    assert!(!disk.windows(8).any(|window| window == b"what nob"), "plaintext on disk");
    assert!(read(&spooled) == text);
}

#[test]
fn what_is_not_what_was_sent_can_never_be_read() {
    let (dir, spool) = open(limits());
    let (sealed, mut asset) = asset(&spool, &vec![7; 100_000]);
    asset[99_999] ^= 1;
    let mut filling = spool.begin(ToMatrix::new(&part(&sealed), 0, None).unwrap()).unwrap();
    filling.write(&asset).unwrap();
    assert!(spool.bytes() > 0);
    assert!(matches!(filling.finish(), Err(SpoolError::Media(MediaError::Hash))));
    assert_eq!((spool.bytes(), names(dir.path()).len()), (0, 0));
}

#[test]
fn all_files_share_one_quota_and_who_gives_up_gives_it_back() {
    let (_dir, spool) = open(SpoolLimits { file: 1 << 20, total: 3 * SEGMENT_ON_DISK });
    let other = spool.clone();
    let mut first = spool.begin(seal()).unwrap();
    let mut second = other.begin(seal()).unwrap();
    first.write(&vec![0; 2 * SEGMENT]).unwrap();
    second.write(&vec![0; SEGMENT]).unwrap();
    assert_eq!(spool.bytes(), 3 * SEGMENT_ON_DISK);
    let told = second.write(&vec![0; SEGMENT]);
    assert!(matches!(told, Err(SpoolError::OverQuota(limit)) if limit == 3 * SEGMENT_ON_DISK), "{told:?}");
    // A file with a hole is none.
    assert!(matches!(second.write(b""), Err(SpoolError::Broken)));
    assert!(matches!(second.finish(), Err(SpoolError::Broken)));
    assert_eq!(spool.bytes(), 2 * SEGMENT_ON_DISK);
    drop(first);
    assert_eq!(spool.bytes(), 0);
    let mut third = spool.begin(seal()).unwrap();
    third.write(&vec![0; 2 * SEGMENT]).unwrap();
    let (spooled, _) = third.finish().unwrap();
    let reader = spooled.reader();
    drop(spooled);
    assert!(spool.bytes() > 0, "it is being read");
    drop(reader);
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn one_file_has_a_limit_of_its_own() {
    let (_dir, spool) = open(SpoolLimits { file: 100_000, total: 1 << 30 });
    let sized = |bytes: usize| {
        let mut filling = spool.begin(seal()).unwrap();
        filling.write(&vec![0; bytes])?;
        filling.finish().map(|(spooled, _)| spooled.bytes())
    };
    assert_eq!(sized(100_000 - TAG_LEN).unwrap(), 100_000);
    assert!(matches!(sized(100_001 - TAG_LEN), Err(SpoolError::TooLarge(100_000))));
    assert!(matches!(sized(10_000_000), Err(SpoolError::TooLarge(100_000))));
}

/// It would wait for room that nobody can give.
#[test]
fn a_file_larger_than_the_whole_quota_is_refused_for_good() {
    let limits = SpoolLimits { file: 1 << 30, total: 2 * SEGMENT_ON_DISK + 100 };
    let (_dir, spool) = open(limits);
    let most = 2 * SEGMENT as u64 + 100 - TAG_LEN as u64;
    assert_eq!(limits.largest(), most);
    let sized = |bytes: u64| {
        let mut filling = spool.begin(seal()).unwrap();
        // What comes out of the pipe is longer by a tag.
        filling.write(&vec![0; usize::try_from(bytes).unwrap() - TAG_LEN])?;
        filling.finish().map(|(spooled, _)| spooled.bytes())
    };
    assert_eq!(sized(most).unwrap(), most);
    let told = sized(most + 1);
    assert!(matches!(told, Err(SpoolError::TooLarge(limit)) if limit == most), "{told:?}");
    // One that would fit if it were alone waits.
    let mut other = spool.begin(seal()).unwrap();
    other.write(&vec![0; SEGMENT]).unwrap();
    assert!(matches!(sized(most), Err(SpoolError::OverQuota(_))));
    assert_eq!(SpoolLimits { file: 5, total: 1 << 20 }.largest(), 5);
    assert_eq!(SpoolLimits { file: 5, total: 3 }.largest(), 0);
}

#[test]
fn a_start_removes_what_a_killed_process_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // Killed between the file's beginning and the end of its name.
    let (path, file) = create(dir.path()).unwrap();
    drop(file);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::create_dir(dir.path().join("spool-folder")).unwrap();
    let (_spool, removed) = Spool::open(dir.path(), limits()).unwrap();
    assert_eq!(removed, 1);
    assert!(!path.exists() && dir.path().join("notes.txt").exists() && dir.path().join("spool-folder").exists());
}

#[test]
fn damage_on_the_disk_is_noticed() {
    let (_dir, spool) = open(limits());
    let mut filling = spool.begin(seal()).unwrap();
    filling.write(&vec![5; 3 * SEGMENT]).unwrap();
    let (spooled, _) = filling.finish().unwrap();
    let file = &spooled.0.file;
    let damaged = |spooled: &Spooled| {
        let mut reader = spooled.reader();
        loop {
            match reader.next_chunk() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => return matches!(error, SpoolError::Damaged),
            }
        }
    };
    assert!(!damaged(&spooled));
    // A segment in another's place.
    let mut segments = [vec![0; SEGMENT + TAG_LEN], vec![0; SEGMENT + TAG_LEN]];
    file.read_exact_at(&mut segments[0], 0).unwrap();
    file.read_exact_at(&mut segments[1], SEGMENT_ON_DISK).unwrap();
    file.write_all_at(&segments[0], SEGMENT_ON_DISK).unwrap();
    assert!(damaged(&spooled));
    file.write_all_at(&segments[1], SEGMENT_ON_DISK).unwrap();
    assert!(!damaged(&spooled));
    // A bit, and an end that is missing.
    file.write_all_at(&[segments[0][9] ^ 1], 9).unwrap();
    assert!(damaged(&spooled));
    file.write_all_at(&[segments[0][9]], 9).unwrap();
    file.set_len(SEGMENT_ON_DISK * 3).unwrap();
    assert!(damaged(&spooled));
    let told = spooled.reader().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::InvalidData);
}
