//! A WordPress for all tests of this process, what stands between it and the outlet, and what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::{Content, RunId, Sha256Digest, sha256};
use outlets::{Post, Wordpress};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::PrivateWordpress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

static SITE: OnceCell<PrivateWordpress> = OnceCell::const_new();

pub(crate) async fn site() -> &'static PrivateWordpress {
    rustls::crypto::ring::default_provider().install_default().ok();
    SITE.get_or_init(PrivateWordpress::start).await
}

/// The outlet's configuration, through this address.
pub(crate) fn configuration(site: &PrivateWordpress, url: &str, more: Value) -> Value {
    let mut found = json!({ "url": url, "username": site.username(), "password": site.password() });
    let Value::Object(more) = more else { panic!("more is an object") };
    found.as_object_mut().unwrap().extend(more);
    found
}

pub(crate) fn outlet(configuration: Value) -> Wordpress {
    Wordpress::new(serde_json::from_value(configuration).unwrap()).unwrap()
}

/// A post as WordPress keeps it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) terms: Vec<(String, String)>,
}

const KEPT: &str = r#"
    global $wpdb;
    $like = '%tidemill:' . $key . '%';
    $found = [];
    foreach ($wpdb->get_results($wpdb->prepare("SELECT * FROM $wpdb->posts WHERE post_type = 'post' AND post_content LIKE %s", $like)) as $post) {
        $terms = [];
        foreach (wp_get_object_terms($post->ID, ['category', 'post_tag']) as $term) $terms[] = [$term->taxonomy, $term->name];
        $found[] = ['id' => $post->ID, 'status' => $post->post_status, 'slug' => $post->post_name, 'title' => $post->post_title,
                    'content' => $post->post_content, 'terms' => $terms];
    }
    echo json_encode($found);
"#;

/// Every post with the key's marker, in whatever state.
pub(crate) fn kept(site: &PrivateWordpress, key: &str) -> Vec<Kept> {
    let said = site.php(&format!("$key = '{key}'; {KEPT}"));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// How many terms have this name, as WordPress keeps it.
pub(crate) fn terms(site: &PrivateWordpress, name: &str) -> String {
    let name = name.replace('\'', "\\'");
    site.php(&format!("global $wpdb; echo $wpdb->get_var($wpdb->prepare(\"SELECT count(*) FROM $wpdb->terms WHERE name = %s\", '{name}'));"))
}

/// A key that no other test has.
pub(crate) fn key(name: &str) -> String {
    sha256(&[name.as_bytes()]).to_hex()
}

pub(crate) fn content(title: &str, tags: &[&str]) -> Content {
    Content {
        title: title.to_owned(),
        summary: "In <short> & plain.".to_owned(),
        body: "First & <b>foremost</b>.\nSecond.".to_owned(),
        url: Some("https://example.org/a?b=c&d=e".to_owned()),
        language: "en".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}

pub(crate) fn post<'a>(key: &'a str, content: &'a Content) -> Post<'a> {
    Post {
        key,
        content,
        sha256: Sha256Digest([7; 32]),
        published_at: chrono::DateTime::UNIX_EPOCH,
        run: RunId(uuid::Uuid::nil()),
        source: "wire",
    }
}

/// Stands before the site, and can cut the connection once a post was handed in.
pub(crate) struct Proxy {
    pub(crate) url: String,
    cuts: Arc<AtomicBool>,
    handed_in: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(site: &PrivateWordpress) -> Self {
        Self::on(site, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn on(site: &PrivateWordpress, listener: TcpListener) -> Self {
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (cuts, handed_in) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (port, cut, count) = (site.port(), Arc::clone(&cuts), Arc::clone(&handed_in));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, Arc::clone(&cut), Arc::clone(&count)));
            }
        });
        Self { url, cuts, handed_in }
    }

    /// From now on connections are cut between a post that was handed in and its answer, or no longer.
    pub(crate) fn cut(&self, cuts: bool) {
        self.cuts.store(cuts, Ordering::SeqCst);
    }

    /// How many posts were handed in.
    pub(crate) fn handed_in(&self) -> usize {
        self.handed_in.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, port: u16, cuts: Arc<AtomicBool>, handed_in: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut from_server) = ([0; 16 << 10], [0; 16 << 10]);
    let mut posts = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&from_client[..length]);
                if text.starts_with("POST ") && text.lines().next().unwrap().contains("%2Fwp%2Fv2%2Fposts ") {
                    posts = true;
                    handed_in.fetch_add(1, Ordering::SeqCst);
                }
                if server.write_all(&from_client[..length]).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                // The site has answered, so it has the post; nobody hears of it.
                if posts && cuts.load(Ordering::SeqCst) { return }
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() { return }
            }
        }
    }
}
