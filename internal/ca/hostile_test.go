// SPDX-License-Identifier: Apache-2.0

package ca_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// otherwise writes a request again with another encoding of its key, and signs that.
func otherwise(t *testing.T, der []byte, key crypto.Signer, change func(*cryptobyte.Builder, []asn1.RawValue)) []byte {
	t.Helper()
	var outer, info []asn1.RawValue
	unmarshal(t, der, &outer)
	unmarshal(t, outer[0].FullBytes, &info)
	var spki []asn1.RawValue
	unmarshal(t, info[2].FullBytes, &spki)
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for i, part := range info {
			if i == 2 {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { change(b, spki) })
			} else {
				b.AddBytes(part.FullBytes)
			}
		}
	})
	tbs := b.BytesOrPanic()
	hash, digest := crypto.Hash(0), tbs
	if _, ok := key.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(tbs)
		hash, digest = crypto.SHA256, sum[:]
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(outer[1].FullBytes)
		b.AddASN1BitString(signature)
	})
	return out.BytesOrPanic()
}

func unmarshal(t *testing.T, der []byte, into any) {
	t.Helper()
	if _, err := asn1.Unmarshal(der, into); err != nil {
		t.Fatal(err)
	}
}

// A key that is blocked stays blocked however it is written down.
func TestOneKeyHasOneName(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	null := []byte{5, 0}
	for _, kind := range []custody.KeyType{custody.P256, custody.RSA2048, custody.Ed25519} {
		key, err := makeKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		plain := csrFor(t, key, "", "a.lab.test")
		made := h.issue(ca.Request{Authority: "lab", CSR: plain, Via: ca.ViaAPI})
		if _, err := h.Block(t.Context(), operator, []tallystick.KeyID{made.Key}, "stolen"); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*cryptobyte.Builder, []asn1.RawValue){
			"behind the key": func(b *cryptobyte.Builder, spki []asn1.RawValue) {
				b.AddBytes(spki[0].FullBytes)
				b.AddBytes(spki[1].FullBytes)
				b.AddBytes(null)
			},
			"in the algorithm": func(b *cryptobyte.Builder, spki []asn1.RawValue) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(spki[0].Bytes); b.AddBytes(null) })
				b.AddBytes(spki[1].FullBytes)
			},
			"in the bits": func(b *cryptobyte.Builder, spki []asn1.RawValue) {
				b.AddBytes(spki[0].FullBytes)
				b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddBytes(spki[1].Bytes); b.AddBytes(null) })
			},
		} {
			if made, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: otherwise(t, plain, key, change), Via: ca.ViaAPI}); err == nil {
				t.Errorf("%s, something %s: certificate %s for a blocked key", kind, name, made.Serial)
			}
		}
	}
}

// Whoever goes on asking while a key is revoked gets nothing that stays good.
func TestRevokingAKeyWhileItIsUsed(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	for range 8 {
		request, _ := csr(t, "a.lab.test")
		ask := func() error {
			_, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
			return err
		}
		first := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for ask() == nil {
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		if _, err := h.Revoke(t.Context(), operator, ca.RevokeRequest{Serials: []ca.Serial{first.Serial}, Reason: ca.KeyCompromise}); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		made, err := h.List(t.Context(), operator, ca.Filter{Key: first.Key, State: "good"}, "", 10)
		if err != nil || len(made) > 0 {
			t.Fatalf("%d certificates for a compromised key are good, %v", len(made), err)
		}
	}
}

// On PostgreSQL several processes write at a time: a block must wait for a certificate
// that has been looked at and is not kept yet.
func TestABlockWaitsForWhatIsBeingKept(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		if !strings.HasPrefix(url, "postgres") {
			return // SQLite has one writer
		}
		h := newHouse(t, url)
		h.lab()
		request, _ := csr(t, "a.lab.test")
		admission, err := h.Admit(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		held, err := raw.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.ExecContext(t.Context(), `LOCK TABLE issued IN SHARE MODE`); err != nil {
			t.Fatal(err)
		}
		kept, blocked := make(chan error, 1), make(chan error, 1)
		go func() {
			kept <- h.Keep(t.Context(), ca.Certificate{Serial: admission.Serial, Authority: "lab", Key: admission.Key(), DER: []byte{1}, Issued: h.now, NotBefore: h.now, NotAfter: h.now.Add(time.Hour)})
		}()
		time.Sleep(300 * time.Millisecond) // it stands before the table
		other := storetest.Open(t, url)
		go func() {
			key, err := hex.DecodeString(string(admission.Key()))
			if err == nil {
				_, err = other.BlockKeys(t.Context(), [][]byte{key}, "stolen", "x", h.now)
			}
			blocked <- err
		}()
		select {
		case err := <-blocked:
			t.Errorf("the block did not wait: %v", err)
		case <-time.After(500 * time.Millisecond):
		}
		if err := held.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-kept, <-blocked); err != nil {
			t.Error(err)
		}
	})
}

// Whoever approves may close the window.
func TestAnApproverGoesAway(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	h.rule = func(policy.Request) ca.Decision { return ca.Decision{Allowed: true, Approval: true} }
	request, _ := csr(t, "a.lab.test")
	ask := ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}
	wait := func(who gate.Actor) int64 {
		_, err := h.Issue(t.Context(), who, ask)
		waiting, ok := errors.AsType[*ca.Waiting](err)
		if !ok {
			t.Fatal(err)
		}
		return waiting.Request
	}
	// A process that was killed after it had approved: nothing was made, so it waits again.
	id := wait(operator)
	row, err := h.db.IssueRequest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	row.State, row.Decided, row.Serial = store.RequestApproved, h.now, ca.NewSerial(h.now).Bytes()
	if err := h.db.DecideIssueRequest(t.Context(), store.RequestWaiting, row); err != nil {
		t.Fatal(err)
	}
	h.pass(10 * time.Minute)
	if again := wait(operator); again != id {
		t.Errorf("request %d became %d", id, again)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h.keys.hook = cancel // as soon as the key is wanted
	made, err := h.Approve(ctx, admin, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Issue(t.Context(), operator, ask)
	if err != nil || got.Serial != made.Serial {
		t.Errorf("whoever asked gets %s, %v", got.Serial, err)
	}
	// What a protocol's client asks for may be the approver's own.
	device := gate.Actor{Name: "renewal/shop", Role: gate.Operator, Via: "renewal"}
	if _, err := h.Approve(t.Context(), operator, wait(device)); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("an operator approves what a renewal asks for: %v", err)
	}
}

func TestACompromisedRootIsNobodysPeer(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.init(ca.InitRequest{Name: "root"})
	if _, err := h.Prepare(t.Context(), admin, "root", ""); err != nil {
		t.Fatal(err)
	}
	next, err := h.Activate(t.Context(), admin, "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Compromise(t.Context(), admin, "root", "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	revoked := 0
	err = h.db.EachRevocation(t.Context(), next.ID, func(store.Revocation) error { revoked++; return nil })
	if err != nil || revoked != 1 {
		t.Errorf("the new root revokes %d certificates of the old one, %v", revoked, err)
	}
	for _, name := range []string{"root", "root-g2"} {
		if chains, err := h.Alternates(t.Context(), name); err != nil || len(chains) != 0 {
			t.Errorf("%d chains beside that of %s, %v", len(chains), name, err)
		}
	}
}

// A responder must know the certificates of CAs, too.
func TestCertificatesOfCAsAreIssued(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	lab := h.lab()
	root, err := h.Authority(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	serial := lab.X509().SerialNumber.FillBytes(make([]byte, 16))
	if ok, err := h.Issued(t.Context(), root.ID, serial); err != nil || !ok {
		t.Errorf("the root knows its intermediate: %t, %v", ok, err)
	}
	if ok, err := h.Issued(t.Context(), lab.ID, serial); err != nil || ok {
		t.Errorf("the intermediate has issued itself: %t, %v", ok, err)
	}
}

// A renewal is for nothing that the certificate before it was not for.
func TestWhatIsARenewal(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	var renewal bool
	h.rule = func(r policy.Request) ca.Decision { renewal = r.Renewal; return ca.Decision{Allowed: true} }
	request, _ := csr(t, "a.lab.test", "b.lab.test")
	first := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
	for _, c := range []struct {
		names             []string
		renewal, replaces bool
	}{{[]string{"a.lab.test"}, true, true}, {[]string{"a.lab.test", "c.lab.test"}, false, true}, {[]string{"c.lab.test"}, false, false}} {
		next, _ := csr(t, c.names...)
		made := h.issue(ca.Request{Authority: "lab", CSR: next, Via: ca.ViaAPI, Replaces: first.Serial})
		if renewal != c.renewal || (made.Replaces != "") != c.replaces {
			t.Errorf("%v: a renewal is %t, replaces %q", c.names, renewal, made.Replaces)
		}
	}
	if _, err := h.Revoke(t.Context(), operator, ca.RevokeRequest{Serials: []ca.Serial{first.Serial}, Reason: ca.Superseded}); err != nil {
		t.Fatal(err)
	}
	next, _ := csr(t, "a.lab.test")
	h.issue(ca.Request{Authority: "lab", CSR: next, Via: ca.ViaAPI, Replaces: first.Serial})
	if renewal {
		t.Error("what takes over from a revoked one is a renewal")
	}
}

// Being refused fills no disk.
func TestRefusalsAreBounded(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	h.rule = func(policy.Request) ca.Decision { return ca.Decision{Why: "no"} }
	request, _ := csr(t, "a.lab.test")
	for range 150 {
		if _, err := h.Issue(t.Context(), client, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}); !errors.Is(err, tallystick.ErrDenied) {
			t.Fatal(err)
		}
	}
	rows, err := h.Requests(t.Context(), operator, "refused", 0, 1000)
	if err != nil || len(rows) != 100 || rows[0].Request != "{}" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	if err := h.db.ForgetIssueRequests(t.Context(), h.now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if rows, err := h.Requests(t.Context(), operator, "", 0, 1000); err != nil || len(rows) != 0 {
		t.Errorf("%d rows are left, %v", len(rows), err)
	}
}

// A CA for one domain certifies no names of other sorts elsewhere.
func TestOneDomainAndNothingElse(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.init(ca.InitRequest{Name: "root"})
	h.init(ca.InitRequest{Name: "lab", Parent: "root", PermittedDNS: []string{"lab.test"}})
	for name, c := range map[string]struct {
		names ca.Names
		good  bool
	}{
		"address":        {ca.Names{CommonName: "x", IPs: []netip.Addr{netip.MustParseAddr("8.8.8.8")}}, false},
		"mail elsewhere": {ca.Names{CommonName: "x", Emails: []string{"ceo@evil.test"}}, false},
		"URI elsewhere":  {ca.Names{CommonName: "x", URIs: []string{"spiffe://evil.test/admin"}}, false},
		"mail":           {ca.Names{CommonName: "x", Emails: []string{"ann@lab.test"}}, true},
		"URI":            {ca.Names{CommonName: "x", URIs: []string{"spiffe://lab.test/shop"}}, true},
	} {
		request, _ := csr(t)
		_, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", Profile: "client", CSR: request, Names: &c.names, Via: ca.ViaAPI})
		if c.good && err != nil || !c.good && !errors.Is(err, ca.ErrBadName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A root is not ended under a CA that signs.
func TestARootThatCarriesACA(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	h.lab()
	for _, name := range []string{"root", "lab"} {
		if _, err := h.Prepare(t.Context(), admin, name, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Activate(t.Context(), admin, name); err != nil {
			t.Fatal(err)
		}
		_, err := h.Distrust(t.Context(), admin, "root", false)
		if name == "root" && (err == nil || !strings.Contains(err.Error(), "lab stands below root")) || name == "lab" && err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if next, err := h.Authority(t.Context(), "lab-g2"); err != nil || next.Parent != "root-g2" {
		t.Errorf("the next lab stands below %q, %v", next.Parent, err)
	}
}
