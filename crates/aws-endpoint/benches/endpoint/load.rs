//! The client: requests made beforehand, sent over kept-alive connections as fast as they are answered, or at a
//! rate, counted from the moment when each was due.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Whatever is between the client and a server.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// How a server is reached.
#[derive(Clone)]
pub(crate) struct Way {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Way {
    pub(crate) fn http(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    pub(crate) fn https(address: SocketAddr, ca_pem: &str, name: &'static str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Self {
            address,
            tls: Some((tls, ServerName::try_from(name).unwrap())),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
        })
    }
}

/// One connection, opened anew where the server closes it.
pub(crate) struct Client {
    way: Way,
    wire: Option<Box<dyn Wire>>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way,
            wire: None,
            buffer: Vec::with_capacity(16 * 1024),
        }
    }

    /// Sends one request; the answer's body. Anything but 200 is a failure of the measurement.
    pub(crate) async fn call(&mut self, request: &[u8]) -> &[u8] {
        let (status, body) = self.exchange(request).await.unwrap();
        let body = &self.buffer[body..];
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
        body
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => none.insert(self.way.connect().await?),
        };
        wire.write_all(request).await?;
        wire.flush().await?;
        self.buffer.clear();
        let mut parsed = None;
        loop {
            if wire.read_buf(&mut self.buffer).await? == 0 {
                self.wire = None;
                let (head, _) = parsed.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok((status(&self.buffer)?, head));
            }
            if parsed.is_none() {
                parsed = head(&self.buffer)?;
            }
            if let Some((head, length)) = parsed
                && (length.is_some_and(|length| self.buffer.len() >= head + length)
                    || length.is_none() && self.buffer.ends_with(b"0\r\n\r\n"))
            {
                if closes(&self.buffer[..head]) {
                    self.wire = None;
                }
                return Ok((status(&self.buffer)?, head));
            }
        }
    }
}

fn status(answer: &[u8]) -> io::Result<u16> {
    let text = answer.get(9..12).and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Where the body begins, and how long it is unless it is chunked.
fn head(answer: &[u8]) -> io::Result<Option<(usize, Option<usize>)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..end]).map_err(|_| io::ErrorKind::InvalidData)?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Ok(Some((end + 4, length)))
}

fn closes(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.contains("connection: close") || head.starts_with("http/1.0")
}

/// A request as it goes over an HTTP/1.1 connection.
pub(crate) fn bytes(request: &Request<Bytes>) -> Vec<u8> {
    let mut bytes = format!("{} / HTTP/1.1\r\n", request.method()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body().len()).as_bytes());
    bytes.extend_from_slice(request.body());
    bytes
}

/// What was measured.
pub(crate) struct Figures {
    pub(crate) rate: f64,
    /// In rising order.
    took: Vec<Duration>,
}

impl Figures {
    pub(crate) fn calls(&self) -> usize {
        self.took.len()
    }

    /// In milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into some thousands of calls"
    )]
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let index = ((self.took.len() - 1) as f64 * percent / 100.0).round() as usize;
        self.took[index].as_secs_f64() * 1000.0
    }
}

/// When the next call of a connection is due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// When the last one is answered.
    Closed,
    /// This many a second over all connections, answered or not.
    Open(f64),
}

/// What ends a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Time(Duration),
    /// This many calls over all connections.
    Calls(usize),
}

/// Sends `requests` in turn over `connections`.
pub(crate) async fn run(
    way: &Way,
    requests: &Arc<Vec<Vec<u8>>>,
    connections: usize,
    pace: Pace,
    until: Until,
) -> Figures {
    // Connections stand, and every server is warm, before anything counts.
    let mut clients = Vec::new();
    for worker in 0..connections {
        let mut client = Client::new(way.clone());
        client.call(&requests[worker % requests.len()]).await;
        clients.push(client);
    }
    let began = Instant::now();
    let workers = clients.into_iter().enumerate().map(|(worker, mut client)| {
        let requests = Arc::clone(requests);
        tokio::spawn(async move {
            let mut took = Vec::new();
            for turn in 0.. {
                let number = worker + turn * connections;
                let over = match until {
                    Until::Time(time) => began.elapsed() >= time,
                    Until::Calls(calls) => number >= calls,
                };
                if over {
                    break;
                }
                let due = match pace {
                    Pace::Closed => Instant::now(),
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
                    Pace::Open(rate) => {
                        let due = began + Duration::from_secs_f64(number as f64 / rate);
                        tokio::time::sleep_until(due.into()).await;
                        due
                    }
                };
                client.call(&requests[number % requests.len()]).await;
                took.push(due.elapsed());
            }
            took
        })
    });
    let mut took = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        took.extend(worker.await.unwrap());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    Figures { rate, took }
}
