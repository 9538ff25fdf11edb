//! What outlets and providers need to talk to others.
//!
//! | module       | what it is                                                         |
//! | ------------ | ------------------------------------------------------------------ |
//! | [`callback`] | how a worker that was asked tells later how its task ended          |
//! | [`http`]     | a client that follows no redirect, bounded answers, what they mean |
//! | [`Hook`]     | a POST signed after Standard Webhooks                              |
//! | [`mcp`]      | sessions with MCP servers, over stdio or streamable HTTP           |
//! | [`slack`]      | text for team chats, in which nothing is obeyed                    |
//! | [`Secret`]   | text that is never shown                                           |
//! | [`Template`] | minijinja over a JSON document                                     |

pub mod callback;
mod hook;
pub mod http;
pub mod mcp;
mod secret;
pub mod slack;
mod template;

pub use callback::Callback;
pub use hook::Hook;
pub use secret::{Secret, Secrets};
pub use template::Template;
