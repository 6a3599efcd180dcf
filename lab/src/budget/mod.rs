//! What an epsilon costs: two of epsilon, noise multiplier and rounds give the third.

mod advice;
mod curves;
mod question;
mod show;
mod solve;

pub use advice::{Advice, Level};
pub use curves::{CurvePoint, charts, curve_points};
pub use question::{BudgetError, Grid, Mode, Question, Setting, Unit, Wanted};
pub use show::{json, text};
pub use solve::{Answer, By, Group, answer};
