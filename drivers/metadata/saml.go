// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"bufio"
	"context"
	"encoding/asn1"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// The namespaces of SAML metadata and of XML signatures.
const (
	nsSAML  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSig   = "http://www.w3.org/2000/09/xmldsig#"
	nsSig11 = "http://www.w3.org/2009/xmldsig11#"
)

// Bounds of a document. The longest thing in one is a logo.
const (
	maxDepth = 64
	maxToken = 1 << 20 // bytes of one tag or one text
	maxInfo  = 1 << 20 // bytes of all certificates and keys of one KeyDescriptor, in base64
	maxInfos = 64      // sets of certificates of one KeyDescriptor, and keys
	maxID    = 1024    // bytes of an entity ID (SAML metadata section 2.2.1)
)

// A samlReader goes through a document without holding it.
type samlReader struct {
	ctx    context.Context
	seen   sightings
	root   tallystick.Place // of the document
	begun  bool             // its first element was seen
	many   bool             // it holds several entities
	entity string           // ID of the one that is being read
	depth  int              // of elements that are open
	info   *keyDescriptor   // that is open
	text   *strings.Builder // of an element that is wanted and open
	size   int              // of all texts of info
}

// A keyDescriptor is what one <KeyDescriptor> says.
type keyDescriptor struct {
	use   string
	certs [][]string // of each X509Data, in base64
	keys  [][]byte   // SubjectPublicKeyInfo
	curve string
	parts map[string]string // of an RSAKeyValue
	bad   string            // what could not be read
}

// saml reads SAML metadata. Document types are refused, and with them every
// entity that a document could define.
func (l *look) saml(ctx context.Context, place tallystick.Place, text *bufio.Reader) error {
	r := &samlReader{ctx: ctx, root: place, seen: sightings{look: l, place: place, done: map[string]bool{}}}
	limit := &tokenLimit{text: text, all: maxXML}
	tokens := xml.NewDecoder(limit)
	tokens.CharsetReader = func(name string, _ io.Reader) (io.Reader, error) {
		return nil, fault("unsupported", "the character encoding %.40q; UTF-8 is", name)
	}
	for {
		limit.token = maxToken
		token, err := tokens.Token()
		var syntax *xml.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return fault("malformed", "line %d: %s", syntax.Line, network.Clean(syntax.Msg))
		case err == io.EOF && !r.begun: // comments, or nothing
			return fault("not-metadata", "XML without an element")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := r.take(token); err != nil {
			return err
		}
	}
}

func (r *samlReader) take(token xml.Token) error {
	switch token := token.(type) {
	case xml.Directive:
		return fault("malformed", "a document type, which SAML metadata never has")
	case xml.StartElement:
		return r.start(token)
	case xml.CharData:
		if r.text != nil {
			if r.size += len(token); r.size > maxInfo {
				return fault("too-large", "a KeyDescriptor of more than %d bytes", maxInfo)
			}
			r.text.Write(token)
		}
	case xml.EndElement:
		return r.close(token.Name)
	}
	return r.ctx.Err()
}

func (r *samlReader) start(e xml.StartElement) error {
	if !r.begun {
		r.begun = true
		switch e.Name {
		case xml.Name{Space: nsSAML, Local: "EntitiesDescriptor"}:
			r.many = true
		case xml.Name{Space: nsSAML, Local: "EntityDescriptor"}:
		default:
			return fault("not-metadata", "XML that begins with <%s>", network.Clean(e.Name.Local))
		}
	}
	if r.depth++; r.depth > maxDepth {
		return fault("malformed", "elements more than %d deep", maxDepth)
	}
	switch e.Name {
	case xml.Name{Space: nsSAML, Local: "EntityDescriptor"}:
		return r.begin(attribute(e, "entityID"))
	case xml.Name{Space: nsSAML, Local: "KeyDescriptor"}:
		r.size = 0
		r.info = &keyDescriptor{use: attribute(e, "use"), parts: map[string]string{}}
	}
	if r.info != nil {
		r.startInfo(e)
	}
	return nil
}

// begin starts an entity.
func (r *samlReader) begin(id string) error {
	if id == "" || len(id) > maxID {
		return fault("malformed", "an entity without an ID of 1 to %d bytes", maxID)
	}
	r.entity = id
	if r.many {
		r.seen.place = tallystick.Place(string(r.root) + "/" + url.PathEscape(id))
		clear(r.seen.done)
	}
	return nil
}

// startInfo looks at an element within a KeyDescriptor.
func (r *samlReader) startInfo(e xml.StartElement) {
	switch e.Name {
	case xml.Name{Space: nsSig, Local: "X509Data"}:
		if len(r.info.certs) == maxInfos {
			r.info.bad = "too many X509Data"
			return
		}
		r.info.certs = append(r.info.certs, nil)
	case xml.Name{Space: nsSig11, Local: "NamedCurve"}:
		r.info.curve = attribute(e, "URI")
	}
	if wanted(e.Name) {
		r.text = &strings.Builder{}
	}
}

func wanted(name xml.Name) bool {
	switch name.Space {
	case nsSig:
		return slices.Contains([]string{"X509Certificate", "Modulus", "Exponent"}, name.Local)
	case nsSig11:
		return slices.Contains([]string{"PublicKey", "DEREncodedKeyValue"}, name.Local)
	}
	return false
}

// close is called at the end of every element.
func (r *samlReader) close(name xml.Name) error {
	r.depth--
	if r.info == nil {
		return nil
	}
	if r.text != nil && wanted(name) {
		r.info.add(name.Local, r.text.String())
		r.text = nil
	}
	switch name {
	case xml.Name{Space: nsSig, Local: "RSAKeyValue"}:
		n, _ := decode64(r.info.parts["Modulus"])
		e, _ := decode64(r.info.parts["Exponent"])
		clear(r.info.parts)
		r.info.addKey(rsaSPKI(n, e))
	case xml.Name{Space: nsSAML, Local: "KeyDescriptor"}:
		info := r.info
		r.info, r.text = nil, nil
		return r.report(info)
	}
	return nil
}

// add takes what an element within a KeyDescriptor holds.
func (k *keyDescriptor) add(name, text string) {
	switch name {
	case "X509Certificate":
		last := len(k.certs) - 1
		if last < 0 {
			k.bad = "an X509Certificate outside X509Data"
			return
		}
		k.certs[last] = append(k.certs[last], text)
	case "PublicKey": // of an ECKeyValue
		point, _ := decode64(text)
		k.addKey(ecSPKI(curveOID(k.curve), point))
	case "DEREncodedKeyValue":
		k.addKey(decode64(text))
	default:
		k.parts[name] = text
	}
}

func (k *keyDescriptor) addKey(spki []byte, ok bool) {
	if !ok || len(k.keys) >= maxInfos {
		k.bad = "a KeyValue that cannot be read, or too many"
		return
	}
	k.keys = append(k.keys, spki)
}

// curveOID reads urn:oid:1.2.840.10045.3.1.7; an identifier that is none cannot
// be marshalled, and the key is then no key.
func curveOID(uri string) asn1.ObjectIdentifier {
	var oid asn1.ObjectIdentifier
	for digits := range strings.SplitSeq(strings.TrimPrefix(uri, "urn:oid:"), ".") {
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || len(oid) > 20 {
			return nil
		}
		oid = append(oid, int(n))
	}
	return oid
}

// report tells of what a KeyDescriptor held. Without a use it is for signing and
// encryption both (SAML metadata section 2.4.1.1). A key that a certificate beside
// it holds is not told of again.
func (r *samlReader) report(k *keyDescriptor) error {
	role := tallystick.RoleAccepts
	if k.use == "encryption" {
		role = tallystick.RolePresents
	}
	file := tallystick.FileFacts{Format: "saml", Alias: network.Clean(r.entity)}
	var certified []tallystick.KeyID
	for _, texts := range k.certs {
		if len(texts) == 0 {
			continue // a subject name or an issuer and serial alone
		}
		list, ok := certificates(texts)
		if !ok {
			k.bad = "an X509Certificate that is none"
			continue
		}
		certified = append(certified, list[0].Key.ID)
		if err := r.seen.saw(role, list[0], list[1:], file); err != nil {
			return err
		}
	}
	for _, spki := range k.keys {
		c, ok := keyCredential(spki)
		switch {
		case !ok:
			k.bad = "a KeyValue that is none"
		case slices.Contains(certified, c.Key.ID):
		default:
			if err := r.seen.saw(role, c, nil, file); err != nil {
				return err
			}
		}
	}
	if k.bad != "" {
		return r.seen.look.spoilt(r.seen.place, "malformed", "the keys of %.200s: %s", network.Clean(r.entity), k.bad)
	}
	return nil
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// A tokenLimit hands a document to the decoder byte by byte, at most so many for
// one token and for all: the decoder itself would keep whatever an element holds.
type tokenLimit struct {
	text  *bufio.Reader
	token int
	all   int
}

// ReadByte returns the next byte.
func (l *tokenLimit) ReadByte() (byte, error) {
	if l.token--; l.token < 0 {
		return 0, fault("too-large", "a tag or text of more than %d bytes", maxToken)
	}
	if l.all--; l.all < 0 {
		return 0, fault("too-large", "more than %d bytes of XML", maxXML)
	}
	return l.text.ReadByte()
}

// Read is there because the decoder asks for an io.Reader; it calls ReadByte.
func (l *tokenLimit) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := l.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
