//! A hub without a leaf: how it comes to see a group from outside, and how commits are judged then (DESIGN, Roles).

use std::collections::{BTreeMap, BTreeSet};

use super::{RoomGroup, check_follower, count, judge, told, welcomed};
use crate::{
    ident::ProviderDomain,
    mls::{CommitView, Member, Ours, PublicView},
    room::{
        effect::Millis,
        group::{Applied, GroupError, Origin},
    },
    wire::CommitBundle,
};

impl RoomGroup {
    /// Goes on as a hub that sees the group from outside; somebody of ours may be welcomed by the very commit.
    fn go_public(
        &mut self,
        next: PublicView,
        view: &CommitView,
        bundle: &CommitBundle,
        now: Millis,
    ) -> Result<(), GroupError> {
        let ours: Vec<Vec<u8>> = view
            .adds
            .iter()
            .filter(|add| self.key_packages.contains_key(&add.key_package_ref))
            .map(|add| add.key_package_ref.clone())
            .collect();
        if ours.is_empty() {
            // A view of an earlier epoch keeps its rows, a member does not.
            self.replaced |= self.member.take().is_some();
            self.public = Some(next);
            self.view.take();
            return Ok(());
        }
        let welcome = bundle.welcome.as_ref().ok_or_else(|| GroupError::Invalid("no Welcome".to_owned()))?;
        let keys: Vec<Vec<u8>> =
            ours.iter().filter_map(|reference| self.key_packages.get(reference).cloned()).collect();
        let member = Member::join(welcome.as_bytes(), &next.ratchet_tree()?, &keys, now)
            .map_err(|error| GroupError::Invalid(format!("the Welcome for our own users: {error}")))?;
        if !next.agrees_with(&member) {
            return Err(GroupError::Invalid("the Welcome leads elsewhere than its commit".to_owned()));
        }
        self.replace(member);
        self.used.extend(ours);
        Ok(())
    }

    /// Our own KeyPackages, as far as this step may use them.
    fn ours(&self) -> Ours {
        Ours { references: self.key_packages.keys().cloned().collect(), keys: BTreeSet::new() }
    }

    pub(super) fn apply_public(
        &mut self,
        commit: &[u8],
        origin: Origin<'_>,
        now: Millis,
    ) -> Result<Applied, GroupError> {
        let public = self.public.as_ref().ok_or_else(|| GroupError::Invalid("no group".to_owned()))?;
        let Origin::Follower(peer, known, Some(bundle)) = origin else {
            return Err(GroupError::Invalid("we are the hub".to_owned()));
        };
        let leaves = count(public.leaves());
        let mut verdict = |view: &CommitView| {
            check_follower(view, peer, known, welcomed(bundle), &self.door)?;
            judge(view, &leaves, self.bounds.as_ref())
        };
        let (next, view) = public.after(commit, &bundle.group_info, &self.ours(), &mut verdict, now)?;
        self.go_public(next, &view, bundle, now)?;
        Ok(told(&view))
    }

    /// As hub: the commit takes the last leaf that we have.
    pub(super) fn apply_farewell(
        &mut self,
        commit: &[u8],
        peer: &ProviderDomain,
        known: &BTreeMap<Vec<u8>, ProviderDomain>,
        bundle: &CommitBundle,
        now: Millis,
    ) -> Result<Applied, GroupError> {
        let member = self.member()?;
        let (leaves, local_removed) = (count(member.leaves()), member.local_users());
        let mut verdict = |view: &CommitView| {
            check_follower(view, peer, known, welcomed(bundle), &self.door)?;
            judge(view, &leaves, self.bounds.as_ref())
        };
        // What only a member can check comes first, on a state that is thrown away.
        member.verify_commit(commit)?;
        let (next, view) =
            PublicView::of(member)?.after(commit, &bundle.group_info, &self.ours(), &mut verdict, now)?;
        self.go_public(next, &view, bundle, now)?;
        Ok(Applied { local_removed, over: self.member.is_none(), ..told(&view) })
    }
}
