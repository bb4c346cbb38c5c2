// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
)

const laughs = `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol2 "&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;&lol1;">]><lolz>&lol2;</lolz>`

func TestSpoiltDocuments(t *testing.T) {
	const saml = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="x">`
	const bad = `{"kty":"RSA","n":"!","e":"AQAB"}`
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"not-metadata"}},
		{"blank", strings.Repeat(" ", 9999), []string{"not-metadata"}},
		{"html", "<!-- a --><html><body>", []string{"not-metadata"}},
		{"other XML", "<a/>", []string{"not-metadata"}},
		{"comment alone", "<!-- a -->", []string{"not-metadata"}},
		{"text", "hello", []string{"not-metadata"}},
		{"other JSON", `{"hello":1}`, []string{"not-metadata"}},
		{"broken JSON", `{"keys":[`, []string{"malformed"}},
		{"deep JSON", `{"keys":` + strings.Repeat("[", 100_000), []string{"malformed"}},
		{"much JSON", `{"keys":["` + strings.Repeat("a", maxJSON), []string{"too-large"}},
		{"many keys", `{"keys":[1` + strings.Repeat(",1", maxKeys) + `]}`, []string{"too-many"}},
		{"keys of the wrong type", `{"keys":[1,"a",{"kty":1}]}`, []string{"malformed", "malformed", "malformed"}},
		{"keys that are none", `{"keys":[` + bad + `,{"kty":"EC","crv":"P-256","x":"AA","y":"AAAA"},{"kty":"OKP","crv":"?","x":"AA"},{}]}`,
			[]string{"malformed", "malformed", "malformed", "malformed"}},
		{"an exponent without end", `{"keys":[{"kty":"RSA","n":"AQAB","e":"` + strings.Repeat("A", 3000) + `"}]}`, []string{"malformed"}},
		{"laughs", laughs, []string{"malformed"}},
		{"an entity of nobody", saml + "&lol;", []string{"malformed"}},
		{"an end that is missing", saml, []string{"malformed"}},
		{"no ID", `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata"/>`, []string{"malformed"}},
		{"Latin 1", `<?xml version="1.0" encoding="ISO-8859-1"?>` + saml, []string{"unsupported"}},
		{"depth", saml + strings.Repeat("<a>", 100_000), []string{"malformed"}},
		{"a long text", saml + strings.Repeat("a", maxToken+1), []string{"too-large"}},
		{"a long tag", saml + "<a" + strings.Repeat(` b=""`, maxToken/5), []string{"too-large"}},
		{"a long certificate", entity("x", keyDescriptorOf("", "<ds:X509Data><ds:X509Certificate>"+strings.Repeat(strings.Repeat("A", 1000)+"<!-- -->", 1100))), []string{"too-large"}},
		{"wrong base64", entity("x", keyDescriptorOf("", "<ds:X509Data><ds:X509Certificate>%%%</ds:X509Certificate></ds:X509Data>")), []string{"malformed"}},
		{"no certificate", entity("x", keyDescriptorOf("", x509Data([]byte("hello")))), []string{"malformed"}},
		{"no key", entity("x", keyDescriptorOf("", "<ds:KeyValue><ds:RSAKeyValue/></ds:KeyValue>")), []string{"malformed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			sink := s.find(t, s.put("/.well-known/x", c.text))
			if d := cmp.Diff(c.want, sink.Words()); d != "" || sink.Sightings != nil {
				t.Errorf("(-want +got)\n%s\nseen: %v", d, seen(sink))
			}
			for _, m := range sink.Misses {
				if !m.Place.Within(s.place("/.well-known/x")) || len(m.Detail) > 400 {
					t.Errorf("a miss at %s with a detail of %d bytes", m.Place, len(m.Detail))
				}
			}
		})
	}
}

// Nobody is asked whom the operator did not name.
func TestNoRequestToOthers(t *testing.T) {
	other := newSite(t)
	other.put("/keys", `{"keys":[]}`)
	for _, c := range []struct{ name, path, text, want string }{
		{"redirect", "/.well-known/a", "-> " + other.URL + "/keys", "redirected"},
		{"redirect to http", "/.well-known/b", "-> http://" + other.Listener.Addr().String() + "/keys", "redirected"},
		{"redirect to a file", "/.well-known/c", "-> file:///etc/passwd", "redirected"},
		{"jwks_uri", "/.well-known/d", `{"jwks_uri":"` + other.URL + `/keys"}`, "other-host"},
		{"jwks_uri of http", "/.well-known/e", `{"jwks_uri":"http://` + other.Listener.Addr().String() + `/keys"}`, "other-host"},
		{"jwks_uri of a file", "/.well-known/f", `{"jwks_uri":"file:///etc/passwd"}`, "other-host"},
		{"jwks_uri without a host", "/.well-known/g", `{"jwks_uri":"/keys"}`, "other-host"},
		{"jwks_uri with a user", "/.well-known/h", `{"jwks_uri":"https://a@` + other.Listener.Addr().String() + `/keys"}`, "other-host"},
		{"no URL", "/.well-known/i", `{"jwks_uri":"https://[::1"}`, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			sink := s.find(t, s.put(c.path, c.text))
			if d := cmp.Diff([]string{c.want}, sink.Words()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	if visits := other.visits(); visits != nil {
		t.Errorf("the other host was asked for %v", visits)
	}
}

// Nobody is asked whom the operator has excluded, nor what is no host.
func TestNoRequestToTheExcluded(t *testing.T) {
	s, other := newSite(t), newSite(t)
	other.put("/keys", `{"keys":[]}`)
	_, port, err := net.SplitHostPort(other.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	named := "localhost:" + port
	leads := s.put("/.well-known/a", `{"jwks_uri":"https://`+named+`/keys"}`)
	for _, c := range []struct{ exclude, target, want string }{
		{"127.0.0.1", other.URL + "/keys", "excluded"},
		{"127.0.0.0/8,::1", "https://" + named + "/keys", "excluded"},
		{"localhost", "metadata://LOCALHOST:" + port + "/keys", "excluded"},
		{"localhost", leads, "excluded"},
		{"", "https://0.0.0.0:" + port + "/keys", "unreachable"},
		{"", "https://[::]:" + port + "/keys", "unreachable"},
	} {
		sink := find(t, map[string]string{"roots": s.roots, "hosts": named, "exclude": c.exclude}, c.target)
		if d := cmp.Diff([]string{c.want}, sink.Words()); d != "" {
			t.Errorf("%s without %q (-want +got)\n%s", c.target, c.exclude, d)
		}
	}
	if visits := other.visits(); visits != nil {
		t.Errorf("the excluded server was asked for %v", visits)
	}
}

// Requests keep to the rate, and waiting for it does not count as theirs.
func TestRate(t *testing.T) {
	s := newSite(t)
	var targets []string
	for i := range 4 {
		targets = append(targets, s.put(fmt.Sprintf("/.well-known/%d", i), "<a/>"))
	}
	began := time.Now()
	sink := find(t, map[string]string{"roots": s.roots, "rate": "5", "timeout": "400ms"}, targets...)
	if took := time.Since(began); took < 500*time.Millisecond || len(sink.Misses) != 4 || slices.Contains(sink.Words(), "timeout") {
		t.Errorf("after %v: %+v", took, sink.Misses)
	}
}

// A redirect on one host is followed, but not for ever.
func TestRedirects(t *testing.T) {
	s := newSite(t)
	s.put("/here", "-> /there")
	s.put("/there", `{"keys":[{}]}`)
	if d := cmp.Diff([]string{"malformed"}, s.find(t, s.URL+"/here").Words()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	loop := s.put("/.well-known/loop", "-> /.well-known/loop")
	if d := cmp.Diff([]string{"redirected"}, s.find(t, loop).Words()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestAllowedHost(t *testing.T) {
	s, other := newSite(t), newSite(t)
	_, key := newCertificate(t, "x")
	other.put("/keys", `{"keys":[`+ecJWK(key, "")+`]}`)
	issuer := s.put("/.well-known/openid-configuration", `{"issuer":"x","jwks_uri":"`+other.URL+`/keys"}`)
	sink := find(t, map[string]string{"roots": s.roots, "hosts": other.Listener.Addr().String()}, strings.TrimSuffix(issuer, "/.well-known/openid-configuration"))
	if len(sink.Sightings) != 1 || sink.Sightings[0].Place != s.place("/") {
		t.Errorf("seen: %v, missed: %v", seen(sink), sink.Misses)
	}
}

func TestUnreachable(t *testing.T) {
	s := newSite(t)
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.Start()
	defer plain.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer slow.Close()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, c := range []struct{ target, want string }{
		{s.URL + "/nothing", "http-404"},
		{strings.Replace(plain.URL, "http", "https", 1), "not-tls"},
		{plain.URL, "http-404"},
		{slow.URL, "timeout"},
		{closed.URL, "refused"},
		{pipe, "not-regular"},
		{filepath.Dir(pipe), "not-regular"},
		{pipe + "x", "not-found"},
	} {
		sink := find(t, map[string]string{"roots": s.roots, "timeout": "300ms"}, c.target)
		if d := cmp.Diff([]string{c.want}, sink.Words()); d != "" {
			t.Errorf("%s (-want +got)\n%s", c.target, d)
		}
	}
	if d := cmp.Diff([]string{"untrusted"}, find(t, nil, s.URL).Words()); d != "" {
		t.Errorf("without its root (-want +got)\n%s", d)
	}
}

// A server that stops in the middle of a document is left, over HTTP/2 as well.
func TestHalfADocument(t *testing.T) {
	for _, second := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoAtLeast(2, 0) != second {
				t.Errorf("asked over %s", r.Proto)
			}
			fmt.Fprint(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		server.EnableHTTP2 = second
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		roots := write(t, filepath.Join(t.TempDir(), "roots.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
		began := time.Now()
		sink := find(t, map[string]string{"roots": roots, "timeout": "300ms"}, server.URL)
		if d := cmp.Diff([]string{"timeout"}, sink.Words()); d != "" || time.Since(began) > 5*time.Second {
			t.Errorf("HTTP/2: %v, after %v (-want +got)\n%s%+v", second, time.Since(began), d, sink.Misses)
		}
		server.Close()
	}
}

// A document that never ends is left when it is too large, not when memory is full.
func TestEndlessDocuments(t *testing.T) {
	for name, repeated := range map[string]string{"text": strings.Repeat("a", 1000), "keys": `{"kty":"RSA"},`} {
		var sent atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			head := `{"keys":[`
			if name == "text" {
				head = "<a>"
			}
			for n, err := io.WriteString(w, head); err == nil && sent.Load() < 100<<20; n, err = io.WriteString(w, repeated) {
				sent.Add(int64(n))
			}
		}))
		sink := find(t, nil, server.URL+"/.well-known/"+name)
		server.Close()
		if words := sink.Words(); len(words) != 1 || sent.Load() >= 50<<20 {
			t.Errorf("%s: %v after %d bytes", name, words, sent.Load())
		}
	}
}

func TestSenselessTargets(t *testing.T) {
	opened, err := Driver().Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, targets := range [][]string{
		nil, {"http://example.org/"}, {"http://127.0.0.1.example.org/"}, {"ftp://example.org"}, {"relative.xml"}, {"https://"},
		{"https://user:secret@example.org/"}, {"https:example.org"}, {"file://host/x"}, {"https://[::1/"},
	} {
		err := opened.(driver.Finder).Find(context.Background(), driver.FindRequest{Targets: targets, Now: time.Now}, &drivertest.Recorder{})
		if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%q: %v, want ErrInvalid", targets, err)
		}
	}
}

func TestSenselessOptions(t *testing.T) {
	for _, options := range []map[string]string{{"timeout": "-1s"}, {"concurrency": "257"}, {"rate": "-1"}, {"exclude": "a b"}, {"hosts": "https://a"}, {"hosts": "*"}} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", options, err)
		}
	}
}

// Every way to write an address is one place.
func TestPlaces(t *testing.T) {
	for text, want := range map[string]tallystick.Place{
		"https://IDP.example":                  "metadata://idp.example/",
		"https://idp.example:443/a?b=c#d":      "metadata://idp.example/a?b=c",
		"metadata://idp.example:8443/a":        "metadata://idp.example:8443/a",
		"https://[2001:DB8::1]/":               "metadata://[2001:db8::1]/",
		"http://localhost:80/":                 "metadata://localhost/",
		"/etc/shibboleth/../idp.xml":           "metadata:///etc/idp.xml",
		"file:///etc/idp%20x.xml":              "metadata:///etc/idp%20x.xml",
		"metadata:///etc/idp.xml":              "metadata:///etc/idp.xml",
		"https://idp.example/md/https:%2F%2Fa": "metadata://idp.example/md/https:%2F%2Fa",
	} {
		target, err := parseTarget(text)
		if err != nil || target.place != want {
			t.Errorf("%s: %s, %v, want %s", text, target.place, err, want)
		}
	}
}

// TestBrokenMembersWithoutEnd shows that a document of broken keys is given up.
func TestBrokenMembersWithoutEnd(t *testing.T) {
	var text strings.Builder
	text.WriteString(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`)
	for n := range mostMisses + 500 {
		fmt.Fprintf(&text, `<EntityDescriptor entityID="e%d"><IDPSSODescriptor><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#">`+
			`<X509Data><X509Certificate>!</X509Certificate></X509Data></KeyInfo></KeyDescriptor></IDPSSODescriptor></EntityDescriptor>`, n)
	}
	text.WriteString(`</EntitiesDescriptor>`)
	path := write(t, filepath.Join(t.TempDir(), "federation.xml"), []byte(text.String()))
	s := find(t, nil, path)
	last := s.Misses[len(s.Misses)-1]
	if len(s.Misses) != mostMisses+1 || last.Error != "too-many" || last.Place != tallystick.Place("metadata://"+path) {
		t.Errorf("%d misses, the last %+v", len(s.Misses), last)
	}
}
