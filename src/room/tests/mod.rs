//! The room as a value, with a naive group, naive names and a naive network: named cases, and a model test (ATTACKS R11).

mod acts;
mod bans;
mod brief;
mod content_policy;
mod direct;
mod faces;
mod fake_group;
mod fakes;
mod kin;
mod live;
mod lost;
mod model;
mod muted;
mod named;
mod outside;
mod portraits;
mod post;
mod provider;
mod roles;
mod second;
mod settings;
mod thresholds;
mod world;
