//! Scraping: which targets there are, when each is asked, and how its answer becomes a batch.

pub mod config;
mod glob;
pub mod relabel;
