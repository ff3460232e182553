//! The house: builds the rooms from settings, runs them, reloads and stops them in the order of flow.

mod failure;
mod house;
mod rivers;
mod rows;
mod run;

pub use failure::Failure;
pub use run::run;
