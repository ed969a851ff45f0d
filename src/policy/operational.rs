//! What members go by in the MLS operational policy (0x0024, draft-ietf-mimi-room-policy-03 section 7): when they commit what
//! others proposed (`PendingProposalPolicy`), and whether anybody joins by an external commit.

use super::{component, parameters::PendingProposalPolicy, state::RoomState};
use crate::wire::{
    DecodeError,
    codec::{MAX_VECTOR, Reader},
};

/// How long a follower waits before it commits pending proposals, in milliseconds, where the room does not say.
const USUAL: Delay = Delay { min: 2_000, max: 6_000 };
/// Nobody waits longer than this, in milliseconds, whatever the room says: messages queue meanwhile.
const LONGEST: u64 = 60_000;
/// `ExtendedCapabilities` before the fields that we read, and how many vectors each has.
const CAPABILITIES: usize = 3 * 10;

/// A time to wait, drawn between two bounds, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The shortest.
    pub min: u64,
    /// The longest; not less than `min`.
    pub max: u64,
}

impl Delay {
    /// The delay that `seed` stands for: each in the range is as likely as any other.
    #[must_use]
    pub fn draw(self, seed: u64) -> u64 {
        self.min + seed % (self.max - self.min + 1)
    }
}

/// What the room says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    external_commits: bool,
    /// `None`: unspecified.
    delay: Option<Delay>,
}

/// Reads `OperationalParameters` up to its `pending_proposal_policy`.
fn read(bytes: &[u8]) -> Result<Said, DecodeError> {
    // What follows the policy is not looked at.
    let mut reader = Reader::for_body(bytes)?;
    // Capabilities, then handshake_formats.
    for _ in 0..=CAPABILITIES {
        reader.opaque("capabilities", MAX_VECTOR)?;
    }
    reader.bool("external_proposal_allowed")?;
    let external_commits = reader.bool("external_commit_allowed")?;
    let delay = match PendingProposalPolicy::read(&mut reader)? {
        PendingProposalPolicy::Unspecified => None,
        PendingProposalPolicy::ImmediateCommit => Some(Delay { min: 0, max: 0 }),
        PendingProposalPolicy::RandomDelay { minimum_delay_ms: min, maximum_delay_ms: max } => {
            Some(Delay { min: min.min(LONGEST), max: max.min(LONGEST) })
        }
    };
    Ok(Said { external_commits, delay })
}

impl RoomState {
    /// How long a member waits before it commits what others proposed. What cannot be read counts as unspecified.
    #[must_use]
    pub fn pending_delay(&self) -> Delay {
        self.operational_policy().and_then(|said| said.delay).unwrap_or(USUAL)
    }

    /// Whether people may join by an external commit, as far as the operational policy goes. Where there is none, or it cannot
    /// be read, nothing forbids them.
    #[must_use]
    pub fn takes_external_commits(&self) -> bool {
        self.operational_policy().is_none_or(|said| said.external_commits)
    }

    fn operational_policy(&self) -> Option<Said> {
        read(self.other.get(&component::OPERATIONAL_POLICY)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(policy: &[u8]) -> Vec<u8> {
        // Three times ten lists and the handshake formats: empty but the first, of one protocol version.
        let mut bytes = vec![2, 0, 1];
        bytes.extend([0; CAPABILITIES]);
        bytes.extend([0, 1]);
        bytes.extend(policy);
        // LeafNode_update_time begins here; what follows is not read.
        bytes.extend([0xff; 24]);
        bytes
    }

    #[test]
    fn strategies_are_read_and_bounded() {
        let delay = |min: u64, max: u64| [&[2][..], &min.to_be_bytes(), &max.to_be_bytes()].concat();
        let read = |bytes: &[u8]| read(bytes).map(|said| said.delay);
        assert_eq!(read(&parameters(&[0])), Ok(None));
        assert_eq!(read(&parameters(&[1])), Ok(Some(Delay { min: 0, max: 0 })));
        assert_eq!(read(&parameters(&delay(10, 500))), Ok(Some(Delay { min: 10, max: 500 })));
        assert_eq!(read(&parameters(&delay(1, u64::MAX))), Ok(Some(Delay { min: 1, max: LONGEST })));
        assert!(read(&parameters(&delay(2, 1))).is_err());
        assert!(read(&parameters(&[3])).is_err());
        assert!(read(&[0; CAPABILITIES]).is_err());
    }

    #[test]
    fn a_delay_lies_between_its_bounds() {
        for seed in 0..10_000 {
            assert!((2_000..=6_000).contains(&USUAL.draw(seed)));
        }
        assert_eq!(Delay { min: 0, max: 0 }.draw(77), 0);
        assert_eq!(USUAL.draw(4_000), 6_000);
    }
}
