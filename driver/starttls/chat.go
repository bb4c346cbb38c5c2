// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"

	"github.com/tallystick/tallystick/driver/network"
)

// The namespaces of XMPP (RFC 6120 sections 4.8 and 5.4).
const (
	xmppStreams = "http://etherx.jabber.org/streams"
	xmppTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
)

// xmpp is RFC 6120 section 5.4.
func xmpp(d *dialogue, content string) error {
	from := ""
	if content == "jabber:server" {
		from = " from='" + self + "'" // a server has to say who it is (section 4.7.1)
	}
	err := d.send("<?xml version='1.0'?><stream:stream to='%s'%s version='1.0' xmlns='%s' xmlns:stream='%s'>",
		d.host, from, content, xmppStreams)
	if err != nil {
		return err
	}
	if len(d.ahead) == 0 {
		if err := d.fill(); err != nil {
			return err
		}
	}
	if d.ahead[0] != '<' { // or the decoder would wait for one
		return d.unlike("%s", network.Quote(string(d.ahead)))
	}
	stream := xml.NewDecoder(d)
	root, err := d.element(stream)
	if err != nil {
		return err
	}
	if root.Name != (xml.Name{Space: xmppStreams, Local: "stream"}) {
		return d.unlike("<%s>", network.Quote(root.Name.Local))
	}
	d.spoken = true
	offered, err := d.features(stream)
	if err != nil {
		return err
	}
	if !offered {
		return d.fail(NoStartTLS, "it is not among the features")
	}
	if err := d.send("<starttls xmlns='%s'/>", xmppTLS); err != nil {
		return err
	}
	answer, err := d.element(stream)
	switch {
	case err != nil:
		return err
	case answer.Name == (xml.Name{Space: xmppTLS, Local: "failure"}):
		return d.fail(NoStartTLS, "<failure>")
	case answer.Name != (xml.Name{Space: xmppTLS, Local: "proceed"}):
		return d.unlike("<%s>", network.Quote(answer.Name.Local))
	}
	return d.skip(stream)
}

// features reads the features of a stream and says whether STARTTLS is one.
func (d *dialogue) features(stream *xml.Decoder) (offered bool, err error) {
	features, err := d.element(stream)
	switch {
	case err != nil:
		return false, err
	case features.Name == (xml.Name{Space: xmppStreams, Local: "error"}):
		return false, d.streamError(stream)
	case features.Name != (xml.Name{Space: xmppStreams, Local: "features"}):
		return false, d.unlike("<%s>", network.Quote(features.Name.Local))
	}
	for {
		token, err := d.token(stream)
		if err != nil {
			return false, err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return offered, nil
		case xml.StartElement:
			offered = offered || token.Name == xml.Name{Space: xmppTLS, Local: "starttls"}
			if err := d.skip(stream); err != nil {
				return false, err
			}
		}
	}
}

// streamError tells why a server ends a stream (RFC 6120 section 4.9).
func (d *dialogue) streamError(stream *xml.Decoder) error {
	condition, err := d.element(stream)
	switch {
	case err != nil:
		return err
	case condition.Name.Local == "host-unknown" || condition.Name.Local == "improper-addressing":
		return d.fail(HostUnknown, "the server does not serve %s; name the domain that it serves", network.Quote(d.host))
	}
	return d.fail(Declined, "<%s>", network.Quote(condition.Name.Local))
}

// element returns the next start of an element.
func (d *dialogue) element(stream *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.token(stream)
		if err != nil {
			return xml.StartElement{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			return token, nil
		case xml.EndElement:
			return xml.StartElement{}, d.unlike("</%s>", network.Quote(token.Name.Local))
		}
	}
}

// skip reads to the end of the element that has just begun. It counts instead of
// calling itself, because nobody bounds how deep a stranger nests.
func (d *dialogue) skip(stream *xml.Decoder) error {
	for depth := 1; depth > 0; {
		token, err := d.token(stream)
		if err != nil {
			return err
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	return nil
}

// token returns the next token. A document type is forbidden (RFC 6120 section 11.1).
func (d *dialogue) token(stream *xml.Decoder) (xml.Token, error) {
	token, err := stream.Token()
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return nil, d.unlike("%s", network.Quote(syntax.Msg))
	}
	if _, ok := token.(xml.Directive); ok {
		return nil, d.unlike("a document type")
	}
	return token, err
}

// irc is the command STARTTLS that some networks know.
// https://ircv3.net/specs/deprecated/tls
func irc(d *dialogue) error {
	if err := d.send("STARTTLS\r\n"); err != nil {
		return err
	}
	for {
		line, err := d.line()
		if err != nil {
			return err
		}
		source, rest, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(source, ":") {
			source, rest = "", line
		}
		switch code := word(rest, 0); {
		case code == "PING":
			if err := d.send("PONG %s\r\n", strings.TrimSpace(rest[len("PING"):])); err != nil {
				return err
			}
		case code == "NOTICE" || code == "020": // what servers say while they look a visitor up
		case code == "670":
			return nil
		case code == "691" || code == "421" || code == "451": // failed, unknown, not before signing in
			return d.fail(NoStartTLS, "%s", network.Quote(line))
		case code == "ERROR":
			return d.fail(Declined, "%s", network.Quote(line))
		default:
			return d.unlike("%s", network.Quote(line))
		}
		d.spoken = true
	}
}

// nats is the line INFO that a NATS server says first; where it speaks of TLS,
// the client begins that without a further word.
// https://docs.nats.io/reference/reference-protocols/nats-protocol
func nats(d *dialogue) error {
	line, err := d.line()
	if err != nil {
		return err
	}
	keyword, text, _ := strings.Cut(line, " ")
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if keyword != "INFO" || json.Unmarshal([]byte(text), &info) != nil {
		return d.unlike("%s", network.Quote(line))
	}
	if !info.Required && !info.Available {
		return d.fail(NoStartTLS, "INFO does not speak of TLS")
	}
	return nil
}
