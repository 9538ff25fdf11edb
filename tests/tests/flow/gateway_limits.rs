//! What the gateway puts up with: slow clients, idle ones, ones that stop reading, ones that ask too often.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use local::Signal;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reqwest::StatusCode;
use serde_json::json;
use testkit::{eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event, metrics};

/// A gateway that is short of patience, and nothing else but the planner.
async fn impatient(set: &[&str]) -> Fleet {
    let mut fleet = Fleet::with(&[]).await;
    fleet.start_with("gateway", set, &[]).await;
    fleet.unchecked_gateway().await;
    fleet
}

async fn connect(fleet: &Fleet) -> TcpStream {
    TcpStream::connect(fleet.unchecked_gateway().await).await.unwrap()
}

/// The value of a metric of the gateway.
async fn metric(fleet: &Fleet, name: &str) -> u64 {
    let (_, gateway) = fleet.workers.iter().find(|(name, _)| *name == "gateway").unwrap();
    let told = metrics(gateway).await;
    let line = told.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

async fn cut(fleet: &Fleet, reason: &str) -> u64 {
    metric(fleet, &format!("tidemill_connections_cut_total{{reason=\"{reason}\"}}")).await
}

/// Asks on an open connection for what needs no token, and reads the answer.
async fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: gateway\r\n\r\n").await?;
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(END, stream.read(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The head of a request that brings one event.
fn post(token: &str, length: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Reads until the connection ends, well or badly.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    tokio::time::timeout(END, stream.read_to_end(&mut read)).await.expect("the connection ends").ok();
    read
}

/// The middle one of the times that twenty ordinary requests take.
async fn latency(desk: &Desk) -> Duration {
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(desk.get("/v1/runs?limit=1").await.0, StatusCode::OK);
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn headers_that_come_byte_by_byte_end_in_time_and_hold_nobody_up() {
    const SLOW: usize = 300;
    let fleet = impatient(&["gateway.header_timeout=2s"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..SLOW {
        let mut stream = connect(&fleet).await;
        slow.spawn(async move {
            let started = Instant::now();
            for byte in
                b"GET /v1/runs HTTP/1.1\r\nhost: gateway\r\nx-filler: ".iter().chain(std::iter::repeat(&b'x'))
            {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            started.elapsed()
        });
    }
    let during = latency(&desk).await;
    assert!(during < Duration::from_millis(250), "an ordinary request takes {during:?} meanwhile");
    let held = tokio::time::timeout(END, slow.join_all()).await.expect("every slow client is cut off");
    assert!(held.iter().all(|held| *held >= Duration::from_millis(1900)), "none before its time: {held:?}");
    assert_eq!(cut(&fleet, "headers").await, SLOW as u64);
}

#[tokio::test]
async fn more_clients_that_never_finish_than_there_are_places_keep_nobody_out() {
    let fleet = impatient(&["gateway.max_connections=50", "gateway.header_timeout=1m"]).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&fleet).await;
        stream.write_all(b"GET /nowhere HTTP/1.1\r\nx-filler: ").await.ok();
        slow.push(stream);
    }
    for _ in 0..20 {
        let mut stream = connect(&fleet).await;
        assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 404 "));
    }
    assert!(cut(&fleet, "room").await >= 150, "the slow ones made room");
}

#[tokio::test]
async fn a_body_that_trickles_is_answered_408() {
    let fleet = impatient(&["gateway.body_timeout=1s"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let checked: SocketAddr = fleet.gateway().await.trim_start_matches("http://").parse().unwrap();
    for kind in ["application/json", "application/x-ndjson"] {
        let mut stream = TcpStream::connect(checked).await.unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\n\
             content-length: 100000\r\n\r\n",
            desk.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let trickle = async {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = vec![0; 4096];
        let answered = async { reading.read(&mut answer).await.unwrap() };
        let length = tokio::select! {
            length = answered => length,
            () = trickle => unreachable!("it never ends"),
            () = tokio::time::sleep(END) => panic!("no answer"),
        };
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"),
            "{answer}"
        );
    }
    // A body that comes in time is none the worse.
    let (_, payload) = event(1);
    assert_eq!(
        desk.post("/v1/events", json!({ "source": "s", "payload": payload })).await.0,
        StatusCode::ACCEPTED
    );
}

/// A request whose answer is a hundred times as large as itself.
async fn ask_for_much(fleet: &Fleet, token: &str) -> TcpStream {
    let body = "x\n".repeat(100_000);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(fleet.unchecked_gateway().await.parse().unwrap()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_one_that_reads_slowly_is_not() {
    let fleet = impatient(&["gateway.write_timeout=2s"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut stuck = ask_for_much(&fleet, &desk.token).await;
    let mut slow = ask_for_much(&fleet, &desk.token).await;
    let reading = tokio::spawn(async move {
        let (mut whole, mut piece) = (Vec::new(), vec![0; 256 << 10]);
        while !whole.ends_with(b"]}") {
            let length = slow.read(&mut piece).await.unwrap();
            assert!(length > 0, "it was cut off after {} bytes", whole.len());
            whole.extend_from_slice(&piece[..length]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        whole.len()
    });
    eventually("the client that reads nothing is cut off", async || cut(&fleet, "write").await == 1).await;
    assert_eq!(desk.get("/v1/runs").await.0, StatusCode::OK);
    let whole = tokio::time::timeout(3 * END, reading).await.expect("the slow one has read all").unwrap();
    let part = read_to_end(&mut stuck).await.len();
    assert!(part < whole / 2, "it had {part} of {whole} bytes");
    assert_eq!(cut(&fleet, "write").await, 1, "the slow one was never cut off");
}

#[tokio::test]
async fn followers_that_read_stay_and_one_that_does_not_goes() {
    let fleet =
        impatient(&["gateway.write_timeout=1s", "gateway.idle_timeout=1s", "gateway.header_timeout=1s"])
            .await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut reader = desk.open("/v1/events", None).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stuck = socket.connect(fleet.unchecked_gateway().await.parse().unwrap()).await.unwrap();
    let ask =
        format!("GET /v1/events HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\r\n", desk.token);
    stuck.write_all(ask.as_bytes()).await.unwrap();
    let mut head = vec![0; 64];
    stuck.read_exact(&mut head).await.unwrap();
    let sleepy = Instant::now();
    let large = json!({ "type": "io.tidemill.test", "data": "x".repeat(200_000) }).to_string();
    let fields =
        [("tenant", "default"), ("event", &large)].map(|(n, v)| (n.into(), v.as_bytes().to_vec())).to_vec();
    let mut read = 0;
    // Nothing was said for longer than any limit of time, and the reader is still there.
    while sleepy.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..100 {
        fleet.streams.add_raw("dataset:events", &fields).await.unwrap();
        while read < large.len() {
            read += reader.chunk().await.unwrap().expect("the reader is not cut off").len();
        }
        read -= large.len();
    }
    eventually("who follows and reads nothing is cut off", async || cut(&fleet, "write").await == 1).await;
    fleet.streams.add_raw("dataset:events", &fields).await.unwrap();
    assert!(reader.chunk().await.unwrap().is_some(), "the reader goes on");
}

/// Memory of a process in RAM, in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_thousand_idle_connections_are_held_in_little_memory() {
    const IDLE: usize = 1000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let fleet = impatient(&[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let before = latency(&desk).await;
    let process = fleet.workers.iter().find(|(name, _)| *name == "gateway").unwrap().1.id();
    let small = resident(process);
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut stream = connect(&fleet).await;
        // Every other one has been used and is kept for another request.
        if number % 2 == 0 {
            assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 404 "));
        }
        idle.push(stream);
    }
    eventually("all are held", async || metric(&fleet, "tidemill_connections").await >= IDLE as u64).await;
    let grown = resident(process).saturating_sub(small);
    let during = latency(&desk).await;
    println!(
        "{IDLE} idle connections: {grown} KiB more than {small} KiB; latency {before:?}, then {during:?}"
    );
    assert!(grown < 32 << 10, "{grown} KiB for {IDLE} idle connections");
    assert!(during < Duration::from_millis(250), "an ordinary request takes {during:?} meanwhile");
    for stream in &mut idle {
        assert!(
            ask(stream).await.unwrap().starts_with("HTTP/1.1 404 "),
            "every one is still good for a request"
        );
    }
}

#[tokio::test]
async fn a_connection_in_use_is_kept_and_an_idle_one_ends() {
    let fleet = impatient(&["gateway.idle_timeout=1s"]).await;
    let (mut used, mut unused) = (connect(&fleet).await, connect(&fleet).await);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        assert!(ask(&mut used).await.unwrap().starts_with("HTTP/1.1 404 "), "after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(read_to_end(&mut unused).await, b"");
    let quiet = Instant::now();
    assert_eq!(read_to_end(&mut used).await, b"");
    assert!(quiet.elapsed() >= Duration::from_millis(600), "it had a second after its last request");
    assert_eq!(cut(&fleet, "idle").await, 2);
}

#[tokio::test]
async fn an_idle_connection_makes_room_and_where_all_have_a_request_the_door_says_so() {
    let fleet = impatient(&["gateway.max_connections=4", "gateway.idle_timeout=1m"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&fleet).await;
        assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 404 "));
        held.push(stream);
    }
    let mut fifth = connect(&fleet).await;
    assert!(ask(&mut fifth).await.unwrap().starts_with("HTTP/1.1 404 "), "it has the place of another");
    let mut begun = vec![fifth];
    for mut stream in held {
        if ask(&mut stream).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 404 ")) {
            begun.push(stream);
        }
    }
    assert_eq!(begun.len(), 4, "one of the idle ones made room");
    let body = json!({ "source": "s", "payload": event(1).1 }).to_string();
    for stream in &mut begun {
        let head = post(&desk.token, body.len()).replacen("host:", "expect: 100-continue\r\nhost:", 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut told = [0; 25];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n", "the gateway waits for its body");
    }
    let mut sixth = connect(&fleet).await;
    let answer = String::from_utf8(read_to_end(&mut sixth).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 2"), "{answer}");
    let problem = answer.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(problem).unwrap()["status"], 503);
    assert_eq!(
        (cut(&fleet, "room").await, cut(&fleet, "full").await),
        (1, 1),
        "the admin port answers meanwhile"
    );
    begun[2].write_all(body.as_bytes()).await.unwrap();
    let mut first = [0; 13];
    begun[2].read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 202 ", "those inside are none the worse");
}

#[tokio::test]
async fn a_token_that_asks_too_often_waits_and_others_do_not() {
    let fleet = impatient(&["gateway.rate.per_second=1", "gateway.rate.burst=5"]).await;
    let hasty = Desk::of(&fleet, "default", &["read"]).await;
    let calm = Desk::of(&fleet, "default", &["read"]).await;
    let mut nobody = Desk::of(&fleet, "default", &ALL).await;
    nobody.token = "tm_wrong".to_owned();
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(hasty.get("/v1/runs").await);
    }
    let (served, limited): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(status, _)| *status == StatusCode::OK);
    assert!((5..15).contains(&served.len()), "{answers:?}");
    assert!(limited.iter().all(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS), "{answers:?}");
    assert!(limited[0].1["detail"].as_str().unwrap().contains("gateway.rate"), "{answers:?}");
    assert_eq!(calm.get("/v1/runs").await.0, StatusCode::OK);
    let mut guesses = Vec::new();
    for _ in 0..20 {
        guesses.push(nobody.get("/v1/runs").await.0);
    }
    assert!(
        guesses.starts_with(&[StatusCode::UNAUTHORIZED]) && guesses.contains(&StatusCode::TOO_MANY_REQUESTS)
    );
    assert_eq!(calm.get("/v1/runs").await.0, StatusCode::OK, "guesses from its address cost a token nothing");
    assert!(metric(&fleet, "tidemill_requests_limited_total").await > 0);
    within(END, "the hasty one is served again", async || hasty.get("/v1/runs").await.0 == StatusCode::OK)
        .await;
}

#[tokio::test]
async fn what_is_too_large_is_told_so_wherever_it_stands() {
    let fleet = impatient(&["gateway.max_event=1KiB"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let large = json!({ "source": "s", "payload": "x".repeat(2000) });
    assert_eq!(desk.post("/v1/events", large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let run = uuid::Uuid::now_v7();
    let long = json!({ "reason": "x".repeat(5 << 20) });
    assert_eq!(desk.post(&format!("/v1/runs/{run}/cancel"), long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let filler = "x".repeat(20 << 10);
    let (status, problem) = desk.send_with(&[("x-filler", &filler)], "{}").await;
    assert_eq!((status.as_u16(), &problem["status"]), (431, &json!(431)));
    let mut stream = connect(&fleet).await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let header = format!("x-filler: {filler}\r\n").repeat(8);
    stream.write_all(header.as_bytes()).await.ok();
    assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 431 "), "without waiting for their end");
    let (status, _) = desk.send("GET", "/v1/runs/%ff", "application/json", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "an address that is no text");
}

#[tokio::test]
async fn a_gateway_told_to_stop_hears_a_request_out_and_waits_for_no_idle_client() {
    let mut fleet = impatient(&["worker.grace=15s"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(connect(&fleet).await);
        ask(&mut idle[0]).await.unwrap();
    }
    let body = json!({ "source": "s", "payload": event(1).1 }).to_string();
    let (first, rest) = body.split_at(20);
    let head = post(&desk.token, body.len()) + first;
    let mut half = connect(&fleet).await;
    half.write_all(head.as_bytes()).await.unwrap();
    eventually("it has all of them", async || metric(&fleet, "tidemill_connections").await >= 21).await;
    let stopping = Instant::now();
    fleet.signal("gateway", Signal::SIGTERM);
    for stream in &mut idle {
        assert_eq!(read_to_end(stream).await, b"");
    }
    let gateway = fleet.unchecked_gateway().await;
    eventually("it takes nobody any more", async || TcpStream::connect(&gateway).await.is_err()).await;
    half.write_all(rest.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_to_end(&mut half).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let (_, gateway) = fleet.workers.iter_mut().find(|(name, _)| *name == "gateway").unwrap();
    let status = gateway.wait(END).await.expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert!(
        stopping.elapsed() < Duration::from_secs(10),
        "it did not wait out its grace: {:?}",
        stopping.elapsed()
    );
    assert_eq!(fleet.runs().await.len(), 1);
}
