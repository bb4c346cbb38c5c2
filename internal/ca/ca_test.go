// SPDX-License-Identifier: Apache-2.0

package ca_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// Other people's verifier accepts what is issued, for its purpose and no other.
func TestOpensslVerifiesEveryProfile(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		lab := h.lab()
		dir := t.TempDir()
		write(t, dir, "root.pem", lab.Chain[0])
		write(t, dir, "lab.pem", lab.Certificate)
		requests := map[string]ca.Request{
			"sslserver": {Names: &ca.Names{DNS: []string{"web.lab.test"}}},
			"sslclient": {Profile: "client", Names: &ca.Names{CommonName: "svc"}},
			"any":       {Profile: "pkinit", Names: &ca.Names{Principals: []string{"HTTP/web@LAB.TEST"}}},
		}
		for purpose, r := range requests {
			for _, kind := range []custody.KeyType{custody.P256, custody.RSA2048} {
				key, err := makeKey(kind)
				if err != nil {
					t.Fatal(err)
				}
				r.CSR = csrFor(t, key, "", "other.test") // names of the CSR are not taken where others are given
				r.Authority, r.Via = "lab", ca.ViaAPI
				made := h.issue(r)
				write(t, dir, "leaf.pem", made.DER)
				out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", filepath.Join(dir, "root.pem"),
					"-untrusted", filepath.Join(dir, "lab.pem"), filepath.Join(dir, "leaf.pem")).CombinedOutput()
				if err != nil {
					t.Errorf("%s, %s: %s", purpose, kind, out)
				}
				if bytes.Contains(made.DER, []byte("other.test")) {
					t.Errorf("%s: a name of the CSR is in the certificate", purpose)
				}
			}
		}
	})
}

func write(t *testing.T, dir, name string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAnIssuedCertificateIsKeptWithItsStory(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.lab()
		request, key := csr(t, "B.lab.test", "a.lab.test", "127.0.0.1")
		made := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
		again, err := h.Find(t.Context(), made.Serial)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made, again, cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond }), cmp.Comparer(func(a, b ca.Names) bool { return slices.Equal(a.All(), b.All()) })); diff != "" {
			t.Errorf("what was returned and what is kept differ:\n%s", diff)
		}
		if want := []string{"a.lab.test", "b.lab.test", "127.0.0.1"}; !slices.Equal(again.Names.All(), want) {
			t.Errorf("names %v, want %v", again.Names.All(), want)
		}
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		found, err := h.FindByKey(t.Context(), sha256.Sum256(spki))
		if err != nil || len(found) != 1 || found[0].Serial != made.Serial {
			t.Errorf("by its key: %v, %v", found, err)
		}
		for _, f := range []ca.Filter{{Name: "b.lab.test"}, {Requester: "olga"}, {State: "good", Authority: "lab"}, {Via: ca.ViaAPI, Profile: "server"}, {Within: 1000 * time.Hour * 24}} {
			list, err := h.List(t.Context(), operator, f, "", 10)
			if err != nil || len(list) != 1 {
				t.Errorf("%+v finds %d, %v", f, len(list), err)
			}
		}
		if list, err := h.List(t.Context(), operator, ca.Filter{Name: "c.lab.test"}, "", 10); err != nil || len(list) != 0 {
			t.Errorf("a name that nobody has finds %d, %v", len(list), err)
		}
	})
}

// Of a request nothing but its key and its names comes into a certificate.
func TestRefusals(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	good, key := csr(t, "a.lab.test")
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	cases := map[string]struct {
		request ca.Request
		want    error
		text    string
	}{
		"no key":         {ca.Request{}, ca.ErrBadCSR, "no key"},
		"not a CSR":      {ca.Request{CSR: []byte("hello")}, ca.ErrBadCSR, ""},
		"too large":      {ca.Request{CSR: make([]byte, 40<<10)}, ca.ErrBadCSR, "at most"},
		"not its key":    {ca.Request{CSR: forged}, ca.ErrBadCSR, "signature"},
		"no such CA":     {ca.Request{CSR: good, Authority: "none"}, tallystick.ErrNotFound, "none"},
		"no profile":     {ca.Request{CSR: good, Profile: "none"}, tallystick.ErrInvalid, "none"},
		"too long":       {ca.Request{CSR: good, Lifetime: 24 * 365 * time.Hour}, tallystick.ErrInvalid, "longer"},
		"names nothing":  {ca.Request{CSR: good, Names: &ca.Names{}}, ca.ErrBadName, "names nothing"},
		"hidden name":    {ca.Request{CSR: good, Names: &ca.Names{DNS: []string{"a.lab.test\x00.evil.test"}}}, ca.ErrBadName, "letters"},
		"bare wildcard":  {ca.Request{CSR: good, Names: &ca.Names{DNS: []string{"*.test"}}}, ca.ErrBadName, "wildcard"},
		"wildcard":       {ca.Request{CSR: good, Names: &ca.Names{DNS: []string{"a.*.lab.test"}}}, ca.ErrBadName, "letters"},
		"an address":     {ca.Request{CSR: good, Names: &ca.Names{DNS: []string{"127.0.0.1"}}}, ca.ErrBadName, "address"},
		"a mail address": {ca.Request{CSR: good, Names: &ca.Names{Emails: []string{"a@lab.test"}}}, ca.ErrBadName, "no names of sort email"},
		"two SVIDs":      {ca.Request{CSR: good, Profile: "spiffe", Names: &ca.Names{URIs: []string{"spiffe://a/b", "spiffe://a/c"}}}, ca.ErrBadName, "exactly one"},
		"no principal":   {ca.Request{CSR: good, Profile: "pkinit", Names: &ca.Names{Principals: []string{"svc"}}}, ca.ErrBadName, "name@REALM"},
		"many names":     {ca.Request{CSR: good, Names: &ca.Names{DNS: many(101)}}, ca.ErrBadName, "more than 100"},
	}
	for name, c := range cases {
		c.request.Via = ca.ViaAPI
		if c.request.Authority == "" {
			c.request.Authority = "lab"
		}
		_, err := h.Issue(t.Context(), operator, c.request)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
	h.known[tallystick.KeyID(hexOf(sum[:]))] = "the inventory knows it as compromised"
	if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: good, Via: ca.ViaAPI}); !errors.Is(err, ca.ErrBadKey) {
		t.Errorf("a key that the inventory knows: %v", err)
	}
	delete(h.known, tallystick.KeyID(hexOf(sum[:])))
	h.lint = fmt.Errorf("%w: e_something", lint.ErrRefused)
	if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: good, Via: ca.ViaAPI}); err == nil || !strings.Contains(err.Error(), "e_something") {
		t.Errorf("a certificate that breaks a rule: %v", err)
	}
	if list, err := h.List(t.Context(), operator, ca.Filter{}, "", 10); err != nil || len(list) != 0 {
		t.Errorf("%d certificates were kept, %v", len(list), err)
	}
	if _, err := h.Issue(t.Context(), gate.Actor{}, ca.Request{Authority: "lab", CSR: good, Via: ca.ViaAPI}); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Errorf("a stranger: %v", err)
	}
}

func many(n int) []string {
	var list []string
	for i := range n {
		list = append(list, strings.Repeat("a", i/26+1)+string(rune('a'+i%26))+".lab.test")
	}
	return list
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func TestThePolicyRefusesAndSaysWhy(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	h.rule = func(r policy.Request) ca.Decision { return ca.Decision{Allowed: r.Proven, Why: "nothing is proven"} }
	request, _ := csr(t, "a.lab.test")
	_, err := h.Issue(t.Context(), client, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaACME})
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "refused because nothing is proven") {
		t.Errorf("refused with %v", err)
	}
	refused, err := h.Requests(t.Context(), operator, "refused", 0, 10)
	if err != nil || len(refused) != 1 || refused[0].Why != "nothing is proven" || refused[0].Requester != "svc" {
		t.Errorf("kept as %+v, %v", refused, err)
	}
	if _, err := h.Issue(t.Context(), client, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaACME, Proven: true}); err != nil {
		t.Error(err)
	}
}

func TestWhoAsksCannotApprove(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.lab()
		h.rule = func(policy.Request) ca.Decision { return ca.Decision{Allowed: true, Approval: true, Why: "four eyes"} }
		request, _ := csr(t, "a.lab.test")
		ask := ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}
		_, err := h.Issue(t.Context(), operator, ask)
		waiting, ok := errors.AsType[*ca.Waiting](err)
		if !ok {
			t.Fatalf("it did not wait: %v", err)
		}
		_, err = h.Issue(t.Context(), operator, ask)
		if again, ok := errors.AsType[*ca.Waiting](err); !ok || again.Request != waiting.Request {
			t.Errorf("asking again: %v", err)
		}
		if _, err := h.Approve(t.Context(), operator, waiting.Request); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("approved by whoever asked: %v", err)
		}
		if _, err := h.Approve(t.Context(), client, waiting.Request); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("approved by a client: %v", err)
		}
		made, err := h.Approve(t.Context(), admin, waiting.Request)
		if err != nil {
			t.Fatal(err)
		}
		if made.Requester != operator.Name {
			t.Errorf("it is for %s", made.Requester)
		}
		got, err := h.Issue(t.Context(), operator, ask)
		if err != nil || got.Serial != made.Serial {
			t.Errorf("whoever asked gets %s, %v, not %s", got.Serial, err, made.Serial)
		}
		if _, err := h.Approve(t.Context(), admin, waiting.Request); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("approved twice: %v", err)
		}
	})
}

func TestACompromisedKeyIsRefusedForEver(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.lab()
		request, key := csr(t, "a.lab.test")
		first := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
		second := h.issue(ca.Request{Authority: "root", CSR: csrFor(t, key, "", "b.lab.test"), Via: ca.ViaAPI})
		n, err := h.Revoke(t.Context(), operator, ca.RevokeRequest{Key: first.Key, Reason: ca.KeyCompromise, Note: "stolen"})
		if err != nil || n != 2 {
			t.Fatalf("%d revoked, %v", n, err)
		}
		for _, serial := range []ca.Serial{first.Serial, second.Serial} {
			got, err := h.Find(t.Context(), serial)
			if err != nil || got.Revocation == nil || got.Revocation.Reason != ca.KeyCompromise || got.Revocation.By != "olga" {
				t.Errorf("%s: %+v, %v", serial, got.Revocation, err)
			}
		}
		if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaACME}); !errors.Is(err, ca.ErrBadKey) {
			t.Errorf("the key is certified again: %v", err)
		}
		if n, err := h.Revoke(t.Context(), operator, ca.RevokeRequest{Key: first.Key, Reason: ca.KeyCompromise}); err != nil || n != 0 {
			t.Errorf("revoked twice: %d, %v", n, err)
		}
		if _, err := h.Revoke(t.Context(), client, ca.RevokeRequest{Serials: []ca.Serial{first.Serial}}); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a client revokes: %v", err)
		}
	})
}

// Between the decision and the store somebody may block the key.
func TestAKeyBlockedMeanwhileGetsNothing(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.lab()
		request, _ := csr(t, "a.lab.test")
		r := ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}
		admission, err := h.Admit(t.Context(), operator, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Block(t.Context(), operator, []tallystick.KeyID{admission.Key()}, "just now"); err != nil {
			t.Fatal(err)
		}
		made := ca.Certificate{Serial: admission.Serial, Authority: "lab", Key: admission.Key(), DER: []byte{1}, Issued: h.now, NotBefore: h.now, NotAfter: h.now.Add(time.Hour)}
		if err := h.Keep(t.Context(), made); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("it was kept: %v", err)
		}
	})
}

func TestDescendantsOfAStolenCertificate(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	request, _ := csr(t, "a.lab.test")
	first := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
	last := first
	for range 3 {
		h.pass(time.Hour)
		next, _ := csr(t, "a.lab.test")
		last = h.issue(ca.Request{Authority: "lab", CSR: next, Via: ca.ViaEST, Replaces: last.Serial})
	}
	if before, err := h.Find(t.Context(), first.Serial); err != nil || before.Replaced.IsZero() {
		t.Errorf("the first is not replaced: %v", err)
	}
	n, err := h.Revoke(t.Context(), operator, ca.RevokeRequest{Serials: []ca.Serial{first.Serial}, Reason: ca.KeyCompromise, Descendants: true})
	if err != nil || n != 4 {
		t.Errorf("%d revoked, %v; want all four", n, err)
	}
	// Nobody may say that somebody else's certificate is replaced.
	other, _ := csr(t, "b.lab.test")
	victim := h.issue(ca.Request{Authority: "lab", CSR: other, Via: ca.ViaAPI})
	mine, _ := csr(t, "b.lab.test")
	if _, err := h.Issue(t.Context(), client, ca.Request{Authority: "lab", CSR: mine, Via: ca.ViaAPI, Replaces: victim.Serial}); err != nil {
		t.Error(err)
	}
	if got, err := h.Find(t.Context(), victim.Serial); err != nil || !got.Replaced.IsZero() {
		t.Errorf("it is said to be replaced, %v", err)
	}
}

func TestWindows(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	request, _ := csr(t, "a.lab.test")
	made := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
	w, err := h.Window(t.Context(), made.Serial)
	if err != nil || !w.Start.After(h.now) || !w.End.After(w.Start) || !w.End.Before(made.NotAfter) || w.Explanation != "" {
		t.Errorf("window %v, %v", w, err)
	}
	if n, err := h.Recall(t.Context(), operator, []ca.Serial{made.Serial}, "https://lab.test/why"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	w, err = h.Window(t.Context(), made.Serial)
	if err != nil || !w.End.Before(h.now) || !w.Start.Before(w.End) || w.Explanation != "https://lab.test/why" {
		t.Errorf("in a recall: %v, %v", w, err)
	}
	if err := h.SaveAsked(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := h.List(t.Context(), operator, ca.Filter{State: "recalled", Answered: "no"}, "", 10)
	if err != nil || len(list) != 1 || !list[0].Asked.Equal(h.now) {
		t.Errorf("recalled: %+v, %v", list, err)
	}
	next, _ := csr(t, "a.lab.test")
	h.issue(ca.Request{Authority: "lab", CSR: next, Via: ca.ViaAPI, Replaces: made.Serial})
	if list, err := h.List(t.Context(), operator, ca.Filter{State: "recalled", Answered: "yes"}, "", 10); err != nil || len(list) != 1 {
		t.Errorf("answered: %d, %v", len(list), err)
	}
	if _, err := h.Window(t.Context(), ca.NewSerial(h.now)); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("of a certificate that is not ours: %v", err)
	}
	if _, err := h.Recall(t.Context(), operator, nil, "javascript:alert(1)"); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a link that is none: %v", err)
	}
}

func TestSerialsGrowAndDoNotRepeat(t *testing.T) {
	seen := map[ca.Serial]bool{}
	var before ca.Serial
	now := time.Now()
	for i := range 100_000 {
		s := ca.NewSerial(now.Add(time.Duration(i) * time.Millisecond))
		if seen[s] || s <= before || len(s.Bytes()) != 16 || s.Bytes()[0] > 0x7f || s.Bytes()[0] == 0 {
			t.Fatalf("serial %d is %s after %s", i, s, before)
		}
		seen[s], before = true, s
	}
}

func TestTheKeyIsGoneForAMinute(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	request, _ := csr(t, "a.lab.test")
	h.keys.away = true
	if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("without the key: %v", err)
	}
	h.keys.away = false
	h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
}
