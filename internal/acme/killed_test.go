// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
)

// childVariable is set in the process that TestKilled starts and kills: a directory,
// the address of the name server, the address to listen on, and where to die.
const childVariable = "TALLYSTICK_TEST_ACME_CHILD"

// TestKilledChild is the server of TestKilled, and nothing in any other process.
func TestKilledChild(t *testing.T) {
	setting := os.Getenv(childVariable)
	if setting == "" {
		return
	}
	part := strings.Split(setting, "|")
	dir, resolver, listen, point := part[0], part[1], part[2], part[3]
	db, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	authority := newCA(t, db, fileKeys(dir))
	server := acme.New(acme.Config{
		ACME: config.ACME{Resolver: resolver}, DB: db, CA: deadly{authority, point}, Now: time.Now, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	go server.Run(t.Context())
	l, err := tls.Listen("tcp", listen, &tls.Config{Certificates: []tls.Certificate{ownCertificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening")
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(point, "enter ") && strings.Contains(r.URL.Path, point[6:]) {
			die()
		}
		if strings.HasPrefix(point, "answer ") && strings.Contains(r.URL.Path, point[7:]) {
			w = &dying{w}
		}
		server.ServeHTTP(w, r)
	}))
}

func die() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }

// dying kills the process when the answer is to be sent.
type dying struct{ http.ResponseWriter }

func (d *dying) WriteHeader(int) { die() }

// deadly kills the process before or after a certificate is made.
type deadly struct {
	*ca.CA
	point string
}

func (d deadly) Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error) {
	if d.point == "before issue" {
		die()
	}
	made, err := d.CA.Issue(ctx, who, r)
	if d.point == "after issue" {
		die()
	}
	return made, err
}

// fileKeys keeps keys in a directory.
type fileKeys string

func (k fileKeys) NewKey(_ context.Context, _ custody.KeyType, owner custody.Owner) (string, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", nil, err
	}
	id := strings.ReplaceAll(owner.Name, "/", "-")
	return id, key, os.WriteFile(filepath.Join(string(k), id), der, 0o600)
}

func (k fileKeys) Signer(_ context.Context, id string) (crypto.Signer, error) {
	der, err := os.ReadFile(filepath.Join(string(k), id))
	if err != nil {
		return nil, err
	}
	return x509.ParseECPrivateKey(der)
}

func newCA(t testing.TB, db *store.DB, keys ca.Keys) *ca.CA {
	t.Helper()
	return ca.New(ca.Config{
		DB: db, Gate: gate.New(&catest.Book{}, time.Now), Keys: keys, Now: time.Now,
		Decide:   func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} },
		CheckKey: func(crypto.PublicKey) error { return nil }, Lint: func([]byte) error { return nil }, Profiles: ca.BuiltInProfiles(),
	})
}

// ownCertificate is one that nobody looks at.
func ownCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A victim is the child, started as often as it takes.
type victim struct {
	t       testing.TB
	dir     string
	dns     *nameServer
	address string
	process *exec.Cmd
}

func (v *victim) start(point string) {
	v.t.Helper()
	v.process = exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
	v.process.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{v.dir, v.dns.address, v.address, point}, "|"))
	v.process.Stderr = os.Stderr
	out, err := v.process.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.process.Start(); err != nil {
		v.t.Fatal(err)
	}
	if !bufio.NewScanner(out).Scan() {
		v.t.Fatal("the child says nothing")
	}
}

// ended waits for the child to be dead.
func (v *victim) ended() { _ = v.process.Wait() }

// TestKilled orders a certificate from a server that is killed at a point, starts it
// again, and goes on as a client would. In the end there is the order, with one
// certificate, and no other certificate.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"enter new-order", "answer new-order", "enter challenge", "answer challenge", "while proving", "enter finalize", "before issue", "after issue", "answer finalize",
		"enter certificate", "answer certificate",
	} {
		t.Run(point, func(t *testing.T) { t.Parallel(); killedAt(t, point) })
	}
}

func killedAt(t *testing.T, point string) {
	dir := t.TempDir()
	v := &victim{t: t, dir: dir, dns: startDNS(t), address: fmt.Sprintf("127.0.0.1:%d", lab.FreePort(t))}
	db, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	authority := newCA(t, db, fileKeys(dir))
	if _, err := authority.Init(t.Context(), catest.Admin, ca.InitRequest{Name: "lab", CommonName: "Lab"}); err != nil {
		t.Fatal(err)
	}
	if point == "while proving" {
		asked := false
		v.dns.asked = func() { // the second time it answers
			if !asked {
				asked = true
				time.Sleep(1500 * time.Millisecond)
				_ = v.process.Process.Kill()
			}
		}
	}
	v.start(point)
	defer func() { _ = v.process.Process.Kill(); v.ended() }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}
	c := &raw{t: t, base: "https://" + v.address + "/acme/lab/", http: &http.Client{Transport: transport, Timeout: 20 * time.Second}, dns: v.dns, key: newKey(t)}
	c.kid = c.must(201, "new-account", "{}").Header.Get("Location")

	key := newKey(t)
	o := survivingOrder(c, v, csr(t, key, &x509.CertificateRequest{DNSNames: []string{"a.lab.test"}}))
	if o.Status != "valid" {
		t.Errorf("the order is %s: %+v", o.Status, o.Error)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	made, err := authority.FindByKey(t.Context(), sha256.Sum256(spki))
	if err != nil || len(made) != 1 || !strings.HasSuffix(o.Certificate, string(made[0].Serial)) {
		t.Errorf("%d certificates, %v; the order has %s", len(made), err, o.Certificate)
	}
	open, err := db.ProcessingACMEOrders(t.Context(), time.Time{})
	if err != nil || len(open) != 0 {
		t.Errorf("%d orders are still being processed, %v", len(open), err)
	}
}

// survivingOrder does what a client does that repeats what got no answer.
func survivingOrder(c *raw, v *victim, csr string) orderView {
	c.t.Helper()
	again := func(resource, payload string) reply {
		c.t.Helper()
		for range 5 {
			if a, ok := c.try(resource, payload); ok {
				return a
			}
			v.ended()
			v.start("never")
		}
		c.t.Fatalf("%s: no answer", resource)
		return reply{}
	}
	var o orderView
	a := again("new-order", orderText("a.lab.test"))
	a.into(c.t, &o)
	location := a.Header.Get("Location")
	var authorization authorizationView
	again(o.Authorizations[0], "").into(c.t, &authorization)
	for _, challenge := range authorization.Challenges {
		if challenge.Type == "dns-01" {
			c.dns.setTXT("_acme-challenge.a.lab.test", c.dnsProof(challenge.Token))
			again(challenge.URL, "{}")
		}
	}
	for deadline := time.Now().Add(20 * time.Second); o.Status == "pending" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		again(location, "").into(c.t, &o)
	}
	again(o.Finalize, csr).into(c.t, &o)
	for deadline := time.Now().Add(20 * time.Second); o.Status == "processing" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		again(location, "").into(c.t, &o)
	}
	if o.Certificate != "" {
		again(o.Certificate, "")
	}
	return o
}

// try posts, with a new nonce if that is what is wrong; false: there was no answer.
func (c *raw) try(resource, payload string) (reply, bool) {
	c.t.Helper()
	for range 3 {
		url := c.url(resource)
		if c.nonce == "" {
			r, err := c.http.Head(c.url("new-nonce"))
			if err != nil {
				return reply{}, false
			}
			_ = r.Body.Close()
			c.nonce = r.Header.Get("Replay-Nonce")
		}
		a, err := c.exchange(url, c.sign(url, payload, nil))
		if err != nil {
			return reply{}, false
		}
		if !strings.Contains(string(a.body), "badNonce") {
			if a.StatusCode >= 400 {
				c.t.Errorf("%s: %d %s", resource, a.StatusCode, a.body)
			}
			return a, true
		}
	}
	return reply{}, false
}
