//! Where PostgreSQL is, and whom a connection over TLS trusts.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::Error;

/// Where PostgreSQL is, and whom a connection over TLS trusts. Made from a URL alone, `sslmode` and `sslrootcert` of the URL
/// say it.
#[derive(Clone, Default)]
pub struct Endpoint {
    /// `postgres://`.
    pub url: String,
    /// Authorities that are trusted beside the system's, in PEM; the server's certificate is checked then.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Endpoint").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Endpoint {
    fn from(url: &T) -> Self {
        Self { url: url.as_ref().to_owned(), ..Self::default() }
    }
}

impl Endpoint {
    /// How a connection is made.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(&self.url).map_err(|e| Error::Url(e.to_string()))?;
        let Some(file) = &self.ca_file else { return Ok(options) };
        let pem = certificates(file)?;
        let options = options.ssl_root_cert_from_pem(pem);
        match options.get_ssl_mode() {
            PgSslMode::VerifyFull | PgSslMode::VerifyCa => Ok(options),
            PgSslMode::Prefer if !self.names_mode() => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
            mode => Err(Error::Tls(format!(
                "database.ca_file is given, but sslmode is {mode:?}, which checks no certificate: write sslmode=verify-full"
            ))),
        }
    }

    fn names_mode(&self) -> bool {
        self.url.contains("sslmode=") || self.url.contains("ssl-mode=")
    }

    /// Why no first connection could be made, and what to do about it.
    pub(crate) fn unreachable(&self, why: String) -> Error {
        let said = |words: &[&str]| words.iter().any(|word| why.contains(word));
        let remedy = if said(&["UnknownIssuer", "Invalid certificate"]) {
            "its certificate is signed by nobody who is trusted here: name its authority's certificate in database.ca_file, or as sslrootcert in database.url"
        } else if said(&["NotValidForName", "not valid for name"]) {
            "its certificate is for another name: write the host in database.url as the certificate has it"
        } else if said(&["Expired", "expired"]) {
            "its certificate has run out: renew it"
        } else if said(&["no encryption", "SSL off"]) {
            "it takes no connections in plain text: write database.url with ?sslmode=verify-full"
        } else if said(&["does not support TLS", "not support SSL"]) {
            "it serves no TLS: set `ssl = on` there, or take sslmode out of database.url"
        } else if self.url.contains("sslrootcert") && said(&["No such file", "Permission denied"]) {
            "check the files that database.url names: sslrootcert, sslcert, sslkey"
        } else {
            "check that it runs and that database.url names it"
        };
        Error::Unreachable { why, remedy }
    }
}

fn certificates(file: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |why: String| Error::Tls(format!("database.ca_file: {} {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") {
        Ok(bytes)
    } else {
        Err(wrong("holds no CERTIFICATE in PEM".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\n";

    #[test]
    fn an_authority_asks_for_the_full_check_and_a_weaker_mode_beside_it_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, PEM).unwrap();
        let endpoint =
            |url: &str| Endpoint { ca_file: Some(file.path().to_owned()), url: url.to_owned() }.options();
        let mode = |url| endpoint(url).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://u@h/d"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://u@h/d?sslmode=verify-ca"), PgSslMode::VerifyCa));
        for weak in ["disable", "allow", "prefer", "require"] {
            let message = endpoint(&format!("postgres://u@h/d?sslmode={weak}")).unwrap_err().to_string();
            assert!(message.contains("verify-full"), "{message}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().with_extension("none")] {
            let endpoint = Endpoint { ca_file: Some(path), url: "postgres://u@h/d".to_owned() };
            let message = endpoint.options().unwrap_err().to_string();
            assert!(message.contains("database.ca_file"), "{message}");
        }
    }
}
