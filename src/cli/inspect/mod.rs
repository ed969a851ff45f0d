//! `mimi-gateway inspect`: MIMI bodies to JSON and back, byte for byte.
//!
//! ```text
//!  bytes --decode as KIND--> {"kind", "bytes", "sha256", "body", "notes", "received"} --encode--> the same bytes
//! ```
//!
//! `body` is all that is needed to make the bytes again, with the drafts' field names. MLS objects are their `hex`; what
//! stands beside it is for reading. `received` is there when a structure has several encodings and the received one is not
//! ours: then it is what comes out again, as long as `body` still says the same.

mod kind;
mod notes;

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use kind::{Fault, Kind};

use self::{
    kind::{Body, Visit},
    notes::Notes,
};
use super::{CliError, exit::Exit, table};
use crate::{
    ident::{RoomUri, UserUri},
    wire::limits,
};

/// Most bytes that are read: a body as JSON, its bytes as hex, with room to spare.
const MAX_INPUT: u64 = 8 * limits::BODY as u64;

/// What is on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to read; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present = "list")]
    file: Option<PathBuf>,
    /// What the file holds (see --list). Guessed if it can be only one kind.
    #[arg(long = "as", value_name = "KIND", value_parser = parse_kind)]
    kind: Option<Kind>,
    /// Read JSON as this command writes it, and write the bytes.
    #[arg(long)]
    encode: bool,
    /// Where to write. Default: standard output.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Who sent the message, for its id. Default: what the message says.
    #[arg(long, value_name = "URI", value_parser = parse_user, conflicts_with = "encode")]
    sender: Option<UserUri>,
    /// In which room, for its id. Default: what the message says.
    #[arg(long, value_name = "URI", value_parser = parse_room, conflicts_with = "encode")]
    room: Option<RoomUri>,
    /// List the kinds.
    #[arg(long, exclusive = true)]
    list: bool,
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).ok_or_else(|| "no such kind; `mimi-gateway inspect --list` lists them".to_owned())
}

fn parse_user(text: &str) -> Result<UserUri, String> {
    UserUri::parse(text).map_err(|e| e.to_string())
}

fn parse_room(text: &str) -> Result<RoomUri, String> {
    RoomUri::parse(text).map_err(|e| e.to_string())
}

/// Where a message came from, if that is known from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Who sent it.
    pub sender: Option<UserUri>,
    /// In which room.
    pub room: Option<RoomUri>,
}

/// Why bytes or JSON cannot be worked on. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The bytes are not of the kind.
    #[error("not {kind}: {}", .fault.text)]
    Bytes {
        /// The kind.
        kind: Kind,
        /// Where, and what.
        fault: Fault,
    },
    /// The bytes are of no kind.
    #[error("not a MIMI body. The nearest: {}", faults(.0))]
    NoKind(Vec<(Kind, Fault)>),
    /// The bytes can be of several kinds.
    #[error("it can be several kinds; say --as KIND, one of: {}", names(.0))]
    Ambiguous(Vec<Kind>),
    /// The JSON is not what this command writes.
    #[error("the JSON cannot be encoded: {0}")]
    Json(String),
    /// The JSON has a form, and says what no bytes can say.
    #[error("the JSON of {kind} cannot be encoded: {why}")]
    Unencodable {
        /// The kind.
        kind: Kind,
        /// What is wrong with it.
        why: String,
    },
}

fn faults(faults: &[(Kind, Fault)]) -> String {
    let told: Vec<String> = faults.iter().map(|(kind, fault)| format!("{kind} ({})", fault.text)).collect();
    told.join("; ")
}

fn names(kinds: &[Kind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

#[derive(Serialize)]
struct Document<'a, B> {
    kind: &'a str,
    bytes: usize,
    sha256: String,
    body: &'a B,
    #[serde(skip_serializing_if = "Map::is_empty")]
    notes: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<String>,
}

struct Decode<'a> {
    bytes: &'a [u8],
    context: &'a Context,
}

impl Visit for Decode<'_> {
    type Out = Result<String, InspectError>;

    fn visit<B: Body + Notes>(self, kind: Kind) -> Self::Out {
        let bytes = self.bytes;
        let body = B::from_bytes(bytes).map_err(|fault| InspectError::Bytes { kind, fault })?;
        let ours = body.to_bytes().is_ok_and(|again| again == bytes);
        let document = Document {
            kind: kind.name(),
            bytes: bytes.len(),
            sha256: hex::encode(Sha256::digest(bytes)),
            body: &body,
            notes: body.notes(bytes, self.context),
            received: (!ours).then(|| hex::encode(bytes)),
        };
        let text = serde_json::to_string_pretty(&document).map_err(|e| unencodable(kind, e.to_string()))?;
        Ok(steady(&text) + "\n")
    }
}

fn unencodable(kind: Kind, why: impl Into<String>) -> InspectError {
    InspectError::Unencodable { kind, why: why.into() }
}

/// JSON in which nothing steers a terminal: such characters stand in strings only, where JSON can escape them.
fn steady(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && table::steers(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string never fails.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Bytes of this kind as JSON.
pub fn decode(kind: Kind, bytes: &[u8], context: &Context) -> Result<String, InspectError> {
    kind.accept(Decode { bytes, context })
}

#[derive(Deserialize)]
struct Head {
    kind: Option<String>,
}

/// What is read back; what was computed is not needed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<B> {
    #[serde(default, rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "bytes")]
    _bytes: IgnoredAny,
    #[serde(default, rename = "sha256")]
    _sha256: IgnoredAny,
    #[serde(default, rename = "notes")]
    _notes: IgnoredAny,
    #[serde(default)]
    received: Option<String>,
    body: B,
}

struct Encode<'a>(&'a str);

impl Visit for Encode<'_> {
    type Out = Result<Vec<u8>, InspectError>;

    fn visit<B: Body + Notes>(self, kind: Kind) -> Self::Out {
        let written: Written<B> = serde_json::from_str(self.0).map_err(|e| unencodable(kind, e.to_string()))?;
        let wanted = serde_json::to_value(&written.body).map_err(|e| unencodable(kind, e.to_string()))?;
        let bytes = match &written.received {
            Some(received) => hex::decode(received).map_err(|e| unencodable(kind, format!("`received`: {e}")))?,
            None => written.body.to_bytes().map_err(|e| unencodable(kind, e))?,
        };
        // What comes out has to say what was written: no limit is passed, and no variant carries another's message.
        let again = B::from_bytes(&bytes).map_err(|fault| unencodable(kind, fault.text))?;
        if serde_json::to_value(&again).map_err(|e| unencodable(kind, e.to_string()))? != wanted {
            let why = if written.received.is_some() {
                "`body` says another thing than the bytes in `received`: without `received`, it is encoded anew"
            } else {
                "the bytes would mean something else than `body` says"
            };
            return Err(unencodable(kind, why));
        }
        Ok(bytes)
    }
}

/// The bytes of JSON that [`decode`] wrote, or that somebody wrote like it. `kind` counts if it is given, else the JSON's.
pub fn encode(kind: Option<Kind>, json: &str) -> Result<Vec<u8>, InspectError> {
    let head: Head = serde_json::from_str(json).map_err(|e| InspectError::Json(e.to_string()))?;
    let named = match &head.kind {
        None => None,
        Some(name) => {
            let unknown = || InspectError::Json(format!("`kind` is {name:?}, which is no kind (see inspect --list)"));
            Some(Kind::named(name).ok_or_else(unknown)?)
        }
    };
    let kind = kind.or(named).ok_or_else(|| InspectError::Json("it has no `kind`; say --as KIND".to_owned()))?;
    if named.is_some_and(|named| named != kind) {
        return Err(InspectError::Json(format!("its `kind` is not {kind}")));
    }
    kind.accept(Encode(json))
}

/// All kinds, with what they are.
fn list() -> String {
    let rows: Vec<Vec<String>> =
        Kind::ALL.iter().map(|kind| vec![kind.name().to_owned(), kind.about().to_owned()]).collect();
    table::render(&["KIND", "WHAT"], &rows)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    let source: Box<dyn io::Read> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(fs::File::open(file)?) };
    source.take(MAX_INPUT + 1).read_to_end(&mut input)?;
    if input.len() as u64 > MAX_INPUT {
        return Err(io::Error::other(format!("longer than {MAX_INPUT} bytes")));
    }
    Ok(input)
}

fn write(out: Option<&Path>, bytes: &[u8]) -> io::Result<()> {
    if let Some(file) = out {
        return fs::write(file, bytes);
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn convert(arguments: &Arguments, input: &[u8]) -> Result<Vec<u8>, InspectError> {
    if arguments.encode {
        let json = std::str::from_utf8(input).map_err(|e| InspectError::Json(e.to_string()))?;
        return encode(arguments.kind, json);
    }
    let context = Context { sender: arguments.sender.clone(), room: arguments.room.clone() };
    let kind = arguments.kind.map_or_else(|| Kind::guess(input), Ok)?;
    decode(kind, input, &context).map(String::into_bytes)
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Some(file) = &arguments.file else {
        print!("{}", list());
        return Ok(());
    };
    let input = read(file).map_err(|e| CliError::new(Exit::Failure, format!("cannot read {}", file.display()), e))?;
    let output = convert(arguments, &input).map_err(|error| {
        let exit = if matches!(error, InspectError::Ambiguous(_)) { Exit::Usage } else { Exit::Input };
        CliError::new(exit, table::clean(&file.display().to_string()), table::clean(&error.to_string()))
    })?;
    match write(arguments.out.as_deref(), &output) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CliError::new(Exit::Failure, "cannot write", e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
