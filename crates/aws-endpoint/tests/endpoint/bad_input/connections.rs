//! What no client should do with its connections: they are cut, and nobody else notices.

use super::*;

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection_only() {
    let (site, red) = Site::with_red().await;
    let stream = connect(&site, b"h2").await;
    let (sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..5000 {
        let mut sender = sender.clone();
        if timeout(SOON, sender.ready()).await.unwrap().is_err() {
            break;
        }
        let mut request = signed(get(SECRET), &red);
        request.headers_mut().remove("host");
        // Dropped before it is answered: a reset of its stream.
        let sent = sender.send_request(request.map(Full::new));
        let _ = timeout(Duration::from_micros(50), sent).await;
    }
    still_answers(&site, &red).await;
    drop(sender);
    let _ = timeout(SOON, connection).await.expect("the connection ends");
}

#[tokio::test]
async fn many_streams_at_once_are_all_answered() {
    let (site, red) = Site::with_red().await;
    let stream = connect(&site, b"h2").await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = signed(get(SECRET), &red);
    request.headers_mut().remove("host");
    let answers = (0..1000).map(|_| {
        let (mut sender, request) = (sender.clone(), request.clone().map(Full::new));
        tokio::spawn(async move {
            sender
                .send_request(request)
                .await
                .map(|answer| answer.status().as_u16())
        })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(timeout(SOON, answer).await.unwrap().unwrap().unwrap(), 200);
    }
}

#[tokio::test]
async fn idle_connections_by_the_hundred_keep_nobody_out() {
    let (site, red) = Site::with_red().await;
    let mut idle = Vec::new();
    for _ in 0..150 {
        idle.push(TcpStream::connect(site.endpoint.address()).await.unwrap());
    }
    for stream in &mut idle[..50] {
        // The beginning of a handshake, which is never ended.
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
    }
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_for_are_closed_and_a_place_is_given_again() {
    let ca = RunCa::generate("test").unwrap();
    let config = EndpointConfig {
        connections: 3,
        ..EndpointConfig::new(ACCOUNT, &ca)
    };
    let endpoint = Endpoint::start(config).await.unwrap();
    let open = async || TcpStream::connect(endpoint.address()).await.unwrap();
    // A place is taken by whoever is answered.
    let greeted = async |stream: &mut TcpStream| {
        let ask = b"CONNECT sts.amazonaws.com:443 HTTP/1.1\r\n\r\n";
        let mut answer = [0; 12];
        let asked = async {
            stream.write_all(ask).await?;
            stream.read_exact(&mut answer).await
        };
        let asked = timeout(SOON, asked).await.expect("an answer or an end");
        asked.is_ok() && &answer == b"HTTP/1.1 200"
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = open().await;
        assert!(greeted(&mut stream).await);
        held.push(stream);
    }
    assert!(!greeted(&mut open().await).await, "a fourth one is closed");
    held.pop();
    let until = tokio::time::Instant::now() + SOON;
    while !greeted(&mut open().await).await {
        assert!(
            tokio::time::Instant::now() < until,
            "the place is not given again"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_is_too_slow_with_greeting_head_or_body_is_cut_off() {
    let (site, red) = Site::with_red().await;
    let short = Duration::from_millis(200);
    site.endpoint.set_patience(Patience {
        greeting: short,
        head: short,
        body: short,
    });
    let mut silent = TcpStream::connect(site.endpoint.address()).await.unwrap();
    let mut hesitant = TcpStream::connect(site.endpoint.address()).await.unwrap();
    hesitant.write_all(&[0x16, 3, 1, 0, 200]).await.unwrap();
    let mut proxied = TcpStream::connect(site.endpoint.address()).await.unwrap();
    proxied
        .write_all(b"CONNECT sts.amazonaws.com:443 HTTP")
        .await
        .unwrap();
    for stream in [&mut silent, &mut hesitant, &mut proxied] {
        let closed = timeout(SOON, stream.read(&mut [0; 16]))
            .await
            .expect("a closed connection");
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    }
    let nothing = spoken(&site, b"").await;
    assert_eq!(nothing, "");
    let half = spoken(&site, b"POST / HTTP/1.1\r\nhost: x\r\nx-a: ").await;
    assert!(!half.starts_with("HTTP/1.1 200 "), "{half}");
    let request = signed(get(SECRET), &red);
    let body = spoken(&site, &raw(&request, "content-length: 50", b"{\"Secret")).await;
    assert!(body.starts_with("HTTP/1.1 4"), "{body}");
    leaks_nothing(&body);
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn what_is_no_request_at_all_is_answered_or_closed() {
    let (site, red) = Site::with_red().await;
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"get / http/1.1\r\n\r\n",
        &[0xff; 300],
    ] {
        let answer = spoken(&site, bytes).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
        leaks_nothing(&answer);
    }
    let unknown = json_request("s3", REGION, "GetObject", &json!({}));
    let answer: Result<Answer, String> = try_send(&site.client, signed(unknown, &red)).await;
    assert_eq!(answer.unwrap().code(), "UnknownService");
    still_answers(&site, &red).await;
}
