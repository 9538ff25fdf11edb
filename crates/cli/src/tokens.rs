//! `tidemill tokens`: who may do what.

use fleet::Fault;

use crate::args::Tokens;
use crate::{local_work, table};

/// The longest name of a token or tenant, in characters.
const LONGEST_NAME: usize = 100;

/// A secret of 256 random bits.
pub(crate) fn secret() -> String {
    format!("tm_{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

pub(crate) async fn run(command: Tokens) -> Result<(), Fault> {
    match command {
        Tokens::Add { name, roles, tenant, database } => {
            if let Some(unknown) = roles.iter().find(|role| !record::ROLES.contains(&role.as_str())) {
                return Err(Fault::usage(format!("`{unknown}` is no role: {}", record::ROLES.join(", "))));
            }
            if !model::is_line(&name, LONGEST_NAME) || !model::is_line(&tenant, LONGEST_NAME) {
                return Err(Fault::usage(format!(
                    "a token's name and tenant have 1 to {LONGEST_NAME} characters on one line: decisions are signed with them"
                )));
            }
            let secret = secret();
            let token = database.record().await?.add_token(&tenant, &name, &roles, &secret).await?;
            eprintln!("Token {} for tenant {tenant}; its secret is shown this once:", token.token_id);
            println!("{secret}");
        }
        Tokens::List { json, database } => {
            let tokens = database.record().await?.tokens().await?;
            if json {
                table::json(&serde_json::json!(tokens));
                return Ok(());
            }
            let mut shown = table::table(&["id", "tenant", "name", "roles", "made", "revoked"]);
            for token in tokens {
                let revoked = token.revoked_at.map(|at| at.to_rfc3339()).unwrap_or_default();
                let made = token.created_at.to_rfc3339();
                let id = token.token_id.to_string();
                shown.add_row([id, token.tenant, token.name, token.roles.join(" "), made, revoked]);
            }
            println!("{shown}");
        }
        Tokens::Revoke { token, database } => {
            if !database.record().await?.revoke_token(local_work::id(&token, "token")?).await? {
                return Err(Fault::usage(format!("there is no valid token {token}")));
            }
            println!("Revoked; gateways notice within two seconds.");
        }
    }
    Ok(())
}
