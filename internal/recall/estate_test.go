// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// An estate is real servers that let alice in by her certificate, and the files that
// she has it in.
type estate struct {
	*testing.T
	pki      *lab.PKI
	issuer   *lab.Issuer
	servers  map[string]driver.Material // what each shows at first, by its door
	bundle   string                     // alice's certificate and key
	alice    driver.Material
	postfix  *lab.Postfix
	clients  []*client
	settings []config.Door
}

// newEstate starts one of everything.
func newEstate(t *testing.T) *estate {
	pki := lab.NewPKI(t)
	e := &estate{T: t, pki: pki, issuer: lab.NewIssuer(t, pki), servers: map[string]driver.Material{}, alice: pki.Client(t, "alice")}
	dir := lab.OpenDir(t)
	e.bundle = filepath.Join(dir, "alice.pem")
	lab.Write(t, e.bundle, lab.BundlePEM(t, e.alice))
	e.door("alice", "pemfile", "alice", map[string]string{"bundle": e.bundle, "role": "client"})
	e.startWeb()
	e.startMail()
	e.startDirectories()
	return e
}

// door names a door of the configuration.
func (e *estate) door(name, driverName, holder string, options map[string]string) {
	values := map[string]driver.Secret{}
	for key, value := range options {
		values[key] = driver.NewSecret(value)
	}
	e.settings = append(e.settings, config.Door{Name: name, Driver: driverName, Holder: holder, Options: values, Issue: config.DoorIssue{Issuer: "lab"}})
}

// server returns what a server shows at first.
func (e *estate) server(door string) driver.Material {
	e.servers[door] = e.pki.Localhost(e.T)
	return e.servers[door]
}

func (e *estate) startWeb() {
	n := lab.StartNginx(e.T, lab.NginxSettings{PKI: e.pki, Server: e.server("nginx"), Clients: true, Cache: true, Protocols: "TLSv1.2 TLSv1.3"})
	e.door("nginx", "nginx", "", map[string]string{
		"program": lab.Program(e.T, "nginx"), "config": n.Config, "error-log": n.ErrorLog, "deny": n.Deny, "patience": "10s", "grace": "2s",
	})
	e.client("nginx", lab.OverHTTPS(n.Addresses[0]))
	h := lab.StartHAProxy(e.T, lab.HAProxySettings{PKI: e.pki, Server: e.server("haproxy"), Clients: true})
	e.door("haproxy", "haproxy", "", map[string]string{
		"program": lab.Program(e.T, "haproxy"), "config": h.Config, "socket": h.Socket, "pid-file": h.PIDFile, "deny": h.Deny, "patience": "10s", "grace": "2s",
	})
	e.client("haproxy", lab.OverHTTPS(h.Addresses[0]))
}

func (e *estate) startMail() {
	e.postfix = lab.StartPostfix(e.T, lab.PostfixSettings{PKI: e.pki, Clients: map[string]string{lab.PostfixPrint(e.alice.Chain[0]): "alice"}})
	e.servers["postfix"] = e.postfix.Server
	e.door("postfix", "postfix", "", map[string]string{"config": e.postfix.Config, "recipient": lab.Recipient})
	e.client("postfix", lab.OverSMTP(e.postfix.SMTP, messages()))
	d := lab.StartDovecot(e.T, lab.DovecotSettings{PKI: e.pki, CertUsers: []string{"alice"}})
	e.servers["dovecot"] = d.Server
	e.door("dovecot", "dovecot", "", map[string]string{"config": d.Config})
	e.client("dovecot", lab.OverIMAPS(d.IMAPS))
}

func (e *estate) startDirectories() {
	s := lab.StartSlapd(e.T, lab.SlapdSettings{PKI: e.pki, Server: e.server("slapd"), CRLs: e.pki.CRLs(e.T)})
	e.door("slapd", "slapd", "", map[string]string{"socket": s.Socket, "server-name": "localhost"})
	e.client("slapd", lab.OverLDAPS(s.LDAPS))
	p := lab.StartPostgres(e.T, lab.PostgresSettings{PKI: e.pki, Server: e.server("postgresql"), CRLs: e.pki.CRLs(e.T)})
	e.door("postgresql", "postgresql", "", map[string]string{
		"socket": p.Socket, "user": lab.PostgresAdmin, "password": lab.PostgresPassword, "server-name": "localhost", "client-user": "alice",
	})
	e.client("postgresql", lab.OverPostgres(p.Address))
}

// messages returns what makes one after the other, each with an ID of its own.
func messages() func() string {
	var last atomic.Int64
	return func() string {
		n := last.Add(1)
		return fmt.Sprintf("Message-ID: <estate-%d@lab.test>\r\nFrom: alice@lab.test\r\nSubject: %d\r\n\r\nhello\r\n", n, n)
	}
}

// A client signs in with alice's certificate as it is now, again and again.
type client struct {
	name string
	try  lab.SignIn

	mu     sync.Mutex
	tries  int
	failed []string // guarded by mu; what went wrong, the first twenty
	wrong  int      // guarded by mu; how often
}

func (e *estate) client(name string, try lab.SignIn) {
	e.clients = append(e.clients, &client{name: name, try: try})
}

// pause is between two tries of one client.
const pause = 40 * time.Millisecond

// load has all clients work until the returned function is called.
func (e *estate) load() (stop func()) {
	ctx, cancel := context.WithCancel(e.Context())
	var wg sync.WaitGroup
	for _, c := range e.clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.once(e.bundle, e.pki.RootFile)
				time.Sleep(pause)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// once is one login with a handshake of its own, as a program does that reads its
// certificate when it connects.
func (c *client) once(bundle, trust string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	config, err := lab.Follow(bundle, trust)
	if err == nil {
		err = c.try(ctx, config)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries++
	if err != nil {
		if c.wrong++; c.wrong <= 20 {
			c.failed = append(c.failed, fmt.Sprintf("%s: %v", time.Now().Format("15:04:05.000"), err))
		}
	}
}

// engine puts an engine together that works at the estate's doors.
func (e *estate) engine() *recall.Engine {
	e.Helper()
	db := storetest.Open(e.T, filepath.Join(e.TempDir(), "tally.db"))
	keys, err := doors.OpenFileKeys(filepath.Join(e.TempDir(), "keys"))
	if err != nil {
		e.Fatal(err)
	}
	set, err := doors.Open(doors.Config{Doors: e.settings, Drivers: drivers.All(), Keys: keys, Now: time.Now})
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = set.Close() })
	log := &records{}
	engine, err := recall.New(recall.Config{
		DB: db, Gate: gate.New(log, time.Now), Log: log, Doors: set, CA: lab.Published{Issuer: e.issuer}, Now: time.Now, Node: "estate",
		Issuers:  func(string) (driver.Issuer, error) { return e.issuer, nil },
		Defaults: recall.Defaults{Approvals: -1, Quiet: time.Second},
	})
	if err != nil {
		e.Fatal(err)
	}
	return engine
}

// Everything that an estate of real servers has is recalled at once: the certificate of
// each server, and the one by which alice signs in to all of them. Meanwhile she signs in
// many times a second with whatever is in her file, and sends mail. Nothing fails, no
// message is lost or doubled, and each old one is proven dead.
func TestRecallOfAnEstate(t *testing.T) {
	e := newEstate(t)
	engine := e.engine()
	stop := e.load()
	time.Sleep(time.Second)
	began := time.Now()
	ids := map[string]int64{}
	for name, m := range e.servers {
		ids[name] = e.open(engine, "server-"+name, m)
	}
	ids["alice"] = e.open(engine, "client-alice", e.alice)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx, func(err error) { t.Logf("the engine says: %v", err) }) }()
	for name, id := range ids {
		e.await(engine, name, id)
	}
	took := time.Since(began)
	time.Sleep(time.Second)
	stop()
	cancel()
	<-ended
	e.report(took)
	e.proofs(engine, ids["alice"])
	e.tryTheOldOne()
}

// proofs looks at what was tried of alice's old certificate: at every server, in every way.
func (e *estate) proofs(engine *recall.Engine, id int64) {
	e.Helper()
	steps, err := engine.Steps(e.Context(), olga, id, 0, 0, 1000)
	if err != nil {
		e.Fatal(err)
	}
	proven := 0
	for _, s := range steps {
		if s.Act != tallystick.ActProve {
			continue
		}
		proven++
		var result doors.Result
		if err := json.Unmarshal(s.Result, &result); err != nil {
			e.Fatal(err)
		}
		ways := map[string]int{}
		for _, a := range result.Attempts {
			ways[a.Way+" "+a.Outcome]++
			if a.Outcome == driver.OutcomeAccepted || a.Outcome == driver.OutcomeFailed {
				e.Errorf("the proof at %s has %s by %s: %s", a.Listener.Address, a.Outcome, a.Way, a.Answer)
			}
		}
		e.Logf("proof at %-24s %v", result.Attempts[0].Listener.Protocol+" "+result.Attempts[0].Listener.Address, ways)
		if ways[driver.WayFresh12+" refused"]+ways[driver.WayFresh13+" refused"] == 0 {
			e.Errorf("no fresh handshake was tried at %s", result.Attempts[0].Listener.Address)
		}
	}
	if proven != len(e.clients) {
		e.Errorf("%d proofs of %d", proven, len(e.clients))
	}
}

// open opens and starts a recall of one credential.
func (e *estate) open(engine *recall.Engine, name string, m driver.Material) int64 {
	e.Helper()
	r, err := engine.Open(e.Context(), olga, recall.Request{
		Name: name, Why: "a drill", Deadline: time.Now().Add(time.Hour),
		What: tallystick.Burnt{Kind: tallystick.BurntCredential, Value: "cert-sha256:" + string(tallystick.FingerprintOf(m.Chain[0]))},
	})
	if err != nil {
		e.Fatalf("%s: %v", name, err)
	}
	if err := engine.Start(e.Context(), olga, r.ID); err != nil {
		e.Fatalf("%s: %v", name, err)
	}
	return r.ID
}

// await waits until a recall is done.
func (e *estate) await(engine *recall.Engine, name string, id int64) {
	e.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		s, err := engine.Status(e.Context(), olga, id)
		if err != nil {
			e.Fatal(err)
		}
		if s.Recall.State == tallystick.RecallDone {
			return
		}
		if s.Recall.State == tallystick.RecallStopped || time.Now().After(deadline) {
			events, _ := engine.Events(e.Context(), olga, id, 0, 1000)
			for _, event := range events {
				e.Logf("%s %s %s", event.At.Format("15:04:05.000"), event.Kind, event.Text)
			}
			e.Fatalf("the recall of %s is %s (%s): %+v", name, s.Recall.State, s.Recall.Reason, s)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// report says how the clients fared; every failure is one too many.
func (e *estate) report(took time.Duration) {
	for _, c := range e.clients {
		e.Logf("%-10s %4d logins, %d failed", c.name, c.tries, c.wrong)
		if c.wrong > 0 {
			e.Errorf("%s failed %d times of %d:\n%s", c.name, c.wrong, c.tries, strings.Join(c.failed, "\n"))
		}
		if c.tries < 20 {
			e.Errorf("%s tried %d times only: that shows nothing", c.name, c.tries)
		}
	}
	e.Logf("%d recalls took %s", len(e.servers)+1, took.Round(time.Millisecond))
	delivered := e.postfix.AwaitDelivery(e.T)
	for _, c := range e.clients {
		if c.name != "postfix" {
			continue
		}
		if len(delivered) != c.tries-c.wrong {
			e.Errorf("%d messages were accepted and %d delivered", c.tries-c.wrong, len(delivered))
		}
	}
	for id, n := range delivered {
		if n != 1 {
			e.Errorf("the message %s was delivered %d times", id, n)
		}
	}
}

// tryTheOldOne makes sure of the proofs with the eyes of another client.
func (e *estate) tryTheOldOne() {
	for _, c := range e.clients {
		ctx, cancel := context.WithTimeout(e.Context(), 20*time.Second)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := e.pki.ClientConfig(e.alice)
			config.MinVersion, config.MaxVersion = version, version
			if c.try(ctx, config) == nil {
				e.Errorf("%s lets the old certificate in by %s", c.name, tls.VersionName(version))
			}
		}
		cancel()
	}
	for door, m := range e.servers {
		e.isRevoked(door, m)
	}
	e.isRevoked("alice", e.alice)
}

func (e *estate) isRevoked(name string, m driver.Material) {
	e.Helper()
	if why, err := (lab.Published{Issuer: e.issuer}).Burnt(e.Context(), m.Public); err != nil || why == "" {
		e.Errorf("the old certificate of %s is not revoked: %q, %v", name, why, err)
	}
}
