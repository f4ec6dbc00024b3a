//! Scraping: which targets there are, when each is asked, and how its answer becomes a batch.

mod client;
pub mod config;
mod glob;
pub mod relabel;
mod sample_labels;
mod target;
