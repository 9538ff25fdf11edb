//! Where Redis is, and whom a connection over TLS trusts.

use std::path::{Path, PathBuf};

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use crate::Error;

/// Where Redis is, and whom a connection over TLS trusts. Made from a URL alone, it trusts the system's authorities.
#[derive(Clone, Default)]
pub struct Endpoint {
    /// `redis://`, `rediss://` or `redis+unix://`.
    pub url: String,
    /// The authorities that are trusted in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate by which the server knows its client, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub key_file: Option<PathBuf>,
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
    /// What a client connects to.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, Error> {
        let wrong = |e: redis::RedisError| Error::Url(e.to_string());
        let info = self.url.as_str().into_connection_info().map_err(wrong)?;
        let given = [
            ("redis.ca_file", &self.ca_file),
            ("redis.certificate_file", &self.certificate_file),
            ("redis.key_file", &self.key_file),
        ];
        let Some((key, _)) = given.into_iter().find(|(_, file)| file.is_some()) else { return Ok(info) };
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(Error::Tls(format!(
                "{key} is given, but redis.url asks for no TLS: write it as rediss://"
            )));
        }
        let client = Client::build_with_tls(info, self.certificates()?)
            .map_err(|e| Error::Tls(format!("{key}: {e}; it must be PEM")))?;
        Ok(client.get_connection_info().clone())
    }

    fn certificates(&self) -> Result<TlsCertificates, Error> {
        let root_cert = self.ca_file.as_deref().map(|file| pem("redis.ca_file", file, "CERTIFICATE"));
        let client_tls = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: pem("redis.certificate_file", certificate, "CERTIFICATE")?,
                client_key: pem("redis.key_file", key, "PRIVATE KEY")?,
            }),
            (None, None) => None,
            _ => {
                let message = "redis.certificate_file and redis.key_file belong together: give both or none";
                return Err(Error::Tls(message.to_owned()));
            }
        };
        Ok(TlsCertificates { client_tls, root_cert: root_cert.transpose()? })
    }

    /// Why no first connection could be made, and what to do about it.
    pub(crate) fn unreachable(&self, why: &str) -> Error {
        let encrypted = self.url.starts_with("rediss");
        let remedy = if why.contains("UnknownIssuer") {
            "its certificate is signed by nobody who is trusted here: name its authority's certificate in redis.ca_file"
        } else if why.contains("NotValidForName") || why.contains("not valid for name") {
            "its certificate is for another name: write the host in redis.url as the certificate has it"
        } else if why.contains("Expired") || why.contains("expired") {
            "its certificate has run out: renew it"
        } else if encrypted && !is_absent(why) {
            "check that it serves TLS on that port (else write redis://), and to clients without a certificate (else give redis.certificate_file and redis.key_file)"
        } else if self.url.starts_with("redis://") && !is_absent(why) {
            "check that redis.url names it; where it serves TLS alone, write rediss://"
        } else {
            "check that it runs and that redis.url names it"
        };
        Error::Unreachable { why: why.to_owned(), remedy }
    }
}

/// Whether nobody listens there at all.
fn is_absent(why: &str) -> bool {
    ["refused", "lookup", "No such file", "unreachable"].iter().any(|word| why.contains(word))
}

fn pem(key: &str, file: &Path, what: &str) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(file)
        .map_err(|e| Error::Tls(format!("{key}: {} cannot be read: {e}", file.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("-----BEGIN") && text.contains(what) {
        Ok(bytes)
    } else {
        Err(Error::Tls(format!("{key}: {} holds no {what} in PEM", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_without_tls_and_files_that_hold_none_are_refused_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let endpoint = |url: &str, ca: &Path| Endpoint { ca_file: Some(ca.to_owned()), ..url.into() };
        for (endpoint, words) in [
            (endpoint("redis://h", &empty), "rediss://"),
            (endpoint("rediss://h", &empty), "holds no CERTIFICATE"),
            (endpoint("rediss://h", &folder.path().join("none")), "cannot be read"),
            (Endpoint { key_file: Some(empty.clone()), ..("rediss://h").into() }, "belong together"),
        ] {
            let message = endpoint.connection_info().unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("redis."), "{message}");
        }
    }

    #[test]
    fn what_is_shown_of_an_endpoint_holds_no_password() {
        let endpoint = Endpoint::from("rediss://:hush@h");
        assert!(!format!("{endpoint:?}").contains("hush"));
    }
}
