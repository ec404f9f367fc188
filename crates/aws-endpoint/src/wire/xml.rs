//! XML as awsQuery services (IAM, STS) answer with.

use std::borrow::Cow;

use quick_xml::escape::escape;

/// An element with children, or with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// An element of elements, possibly none.
    Node {
        /// Its name.
        name: Cow<'static, str>,
        /// In order.
        children: Vec<Self>,
    },
    /// An element of text.
    Text {
        /// Its name.
        name: Cow<'static, str>,
        /// Not yet escaped.
        text: String,
    },
}

impl Element {
    /// An element of elements.
    #[must_use]
    pub fn node(name: impl Into<Cow<'static, str>>, children: Vec<Self>) -> Self {
        Self::Node {
            name: name.into(),
            children,
        }
    }

    /// An element of text.
    #[must_use]
    pub fn text(name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self::Text {
            name: name.into(),
            text: text.into(),
        }
    }

    /// A list: `<name><member>..</member>..</name>`, each member with children of its own.
    #[must_use]
    pub fn list(name: impl Into<Cow<'static, str>>, members: impl IntoIterator<Item = Vec<Self>>) -> Self {
        Self::node(
            name,
            members
                .into_iter()
                .map(|children| Self::node("member", children))
                .collect(),
        )
    }

    /// A list of texts: `<name><member>text</member>..</name>`.
    #[must_use]
    pub fn texts<T: Into<String>>(
        name: impl Into<Cow<'static, str>>,
        members: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::node(
            name,
            members
                .into_iter()
                .map(|text| Self::text("member", text))
                .collect(),
        )
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Node { name, children } => node(out, &[name], children),
            Self::Text { name, text } => {
                push(out, &["<", name, ">"]);
                escape_into(out, text);
                push(out, &["</", name, ">"]);
            }
        }
    }
}

/// Whose fault an error is, in AWS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Sender,
    /// The service's.
    Receiver,
}

/// The body of a successful answer.
///
/// `<ActionResponse xmlns=".."><ActionResult>..</ActionResult><ResponseMetadata>..`; an operation without
/// output has no result element, which is `None` here.
#[must_use]
pub fn response(action: &str, namespace: &str, result: Option<&[Element]>, request_id: &str) -> String {
    document(&[action, "Response"], namespace, |out| {
        if let Some(result) = result {
            node(out, &[action, "Result"], result);
        }
        out.push_str("<ResponseMetadata><RequestId>");
        escape_into(out, request_id);
        out.push_str("</RequestId></ResponseMetadata>");
    })
}

/// The body of an error.
#[must_use]
pub fn error(namespace: &str, fault: Fault, code: &str, message: &str, request_id: &str) -> String {
    let fault = match fault {
        Fault::Sender => "Sender",
        Fault::Receiver => "Receiver",
    };
    let error = vec![
        Element::text("Type", fault),
        Element::text("Code", code),
        Element::text("Message", message),
    ];
    let children = [
        Element::node("Error", error),
        Element::text("RequestId", request_id),
    ];
    document(&["ErrorResponse"], namespace, |out| {
        for child in &children {
            child.write(out);
        }
    })
}

/// A document whose root's name is made of parts.
fn document(root: &[&str], namespace: &str, children: impl FnOnce(&mut String)) -> String {
    let mut out = String::with_capacity(2048);
    out.push('<');
    push(&mut out, root);
    out.push_str(" xmlns=\"");
    escape_into(&mut out, namespace);
    out.push_str("\">");
    children(&mut out);
    out.push_str("</");
    push(&mut out, root);
    out.push('>');
    out
}

/// An element whose name is made of parts.
fn node(out: &mut String, name: &[&str], children: &[Element]) {
    out.push('<');
    push(out, name);
    if children.is_empty() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    for child in children {
        child.write(out);
    }
    out.push_str("</");
    push(out, name);
    out.push('>');
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes markup, and carriage returns, which a reader would take for line feeds; characters that XML
/// cannot hold at all become U+FFFD.
fn escape_into(out: &mut String, text: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'<' | b'>' | b'&' | b'\'' | b'"');
    // As nearly all of it is.
    if text.bytes().all(plain) {
        out.push_str(text);
        return;
    }
    let allowed = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let held: String = text
        .chars()
        .map(|char| if allowed(char) { char } else { '\u{fffd}' })
        .collect();
    out.push_str(&escape(held.as_str()).replace('\r', "&#13;"));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

    #[test]
    fn answers_have_the_shape_that_clients_read() {
        let role = Element::node(
            "Role",
            vec![
                Element::text("RoleName", "a&b"),
                Element::list(
                    "Tags",
                    [vec![Element::text("Key", "k"), Element::text("Value", "<v>")]],
                ),
            ],
        );
        assert_eq!(
            response("CreateRole", NAMESPACE, Some(&[role]), "r-1"),
            "<CreateRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><CreateRoleResult><Role>\
             <RoleName>a&amp;b</RoleName><Tags><member><Key>k</Key><Value>&lt;v&gt;</Value></member></Tags></Role>\
             </CreateRoleResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></CreateRoleResponse>",
        );
        assert_eq!(
            response("DeleteRole", NAMESPACE, None, "r-2"),
            "<DeleteRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><ResponseMetadata>\
             <RequestId>r-2</RequestId></ResponseMetadata></DeleteRoleResponse>",
        );
        assert_eq!(
            error(
                NAMESPACE,
                Fault::Sender,
                "NoSuchEntity",
                "The role with name x cannot be found.",
                "r-3"
            ),
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
             <Code>NoSuchEntity</Code><Message>The role with name x cannot be found.</Message></Error>\
             <RequestId>r-3</RequestId></ErrorResponse>",
        );
    }

    #[test]
    fn lists_of_texts_and_empty_lists() {
        let lists = vec![
            Element::texts("Names", ["a", "b"]),
            Element::texts("None", Vec::<String>::new()),
        ];
        let body = response("X", NAMESPACE, Some(&lists), "r");
        assert!(
            body.contains("<Names><member>a</member><member>b</member></Names><None/>"),
            "{body}"
        );
    }

    /// The text of the first element named `name`, as a parser reads it.
    fn read_back(body: &str, name: &str) -> String {
        let mut reader = Reader::from_str(body);
        let mut inside = false;
        let mut text = String::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => inside = start.name().as_ref() == name.as_bytes(),
                Event::Text(part) if inside => text.push_str(&part.xml10_content().unwrap()),
                Event::GeneralRef(reference) if inside => {
                    let entity = format!("&{};", reference.decode().unwrap());
                    text.push_str(&quick_xml::escape::unescape(&entity).unwrap());
                }
                Event::End(_) if inside => return text,
                Event::Eof => return text,
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "([ -~]|[\\r\\n\\t\u{1}äö€😀]){0,40}") {
            let body = error(NAMESPACE, Fault::Receiver, "Code", &text, "r");
            prop_assert_eq!(read_back(&body, "Message"), text.replace('\u{1}', "\u{fffd}"));
        }
    }
}
