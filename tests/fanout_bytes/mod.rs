//! `FanoutMessages` as they are on the wire, of a given size.

fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    let length = match bytes.len() {
        0..64 => length.to_be_bytes()[3..].to_vec(),
        64..0x4000 => (length | 0x4000).to_be_bytes()[2..].to_vec(),
        _ => (length | 0x8000_0000).to_be_bytes().to_vec(),
    };
    [length, bytes.to_vec()].concat()
}

/// A timestamp, a PrivateMessage with a franking tag beside it, and, if it is to be `franked`, the hub's frank. Of about this
/// size; of exactly this size with up to 16,000 bytes.
pub(crate) fn application(size: usize, franked: bool) -> Vec<u8> {
    let tag = [&[0, 0x20][..], &vector(&[7; 32])].concat();
    let head = [
        1_700_000_000_000_u64.to_be_bytes().to_vec(),
        // MLSMessage: mls10, mls_private_message; group, epoch, application data.
        vec![0, 1, 0, 2],
        vector(b"mimi://a.example/g/club/0"),
        9_u64.to_be_bytes().to_vec(),
        vec![1],
        vector(&vector(&tag)),
        vector(&[3; 28]),
    ]
    .concat();
    // server_frank, cipher suite 1, a signature.
    let frank = if franked { [vec![1], vec![5; 32], vec![0, 1], vector(&[6; 64])].concat() } else { vec![0] };
    let length = size - head.len() - frank.len();
    let sealed = (0..length).rev().map(|length| vector(&vec![9; length])).find(|sealed| sealed.len() <= length);
    [head, sealed.expect("room for it"), frank].concat()
}
