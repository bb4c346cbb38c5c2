// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	keystore "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/lab"
)

// A kind is how doors of one driver are started.
type kind struct {
	name  string
	share int // how many of 2,000 there are
	start func(e *estate, t testing.TB, name string) door
}

// kinds are those of the estate. What a real server costs decides how many there are: all
// are on one machine. Only those of keystore and exec share a process.
func kinds() []kind {
	return []kind{
		{"nginx", 350, (*estate).startNginx},
		{"haproxy", 250, (*estate).startHAProxy},
		{"slapd", 150, (*estate).startSlapd},
		{"postfix", 30, (*estate).startPostfix},
		{"dovecot", 30, (*estate).startDovecot},
		{"postgresql", 20, (*estate).startPostgres},
		{"keystore", 150, (*estate).startJava},
		{"exec", 1020, (*estate).startService},
	}
}

// of returns how many doors of the kind an estate has. A small one has five of each.
func (k kind) of(size int) int {
	if size == smallest {
		return size / len(kinds())
	}
	return k.share * size / 2000
}

// A door is a server of its own, with what shows a certificate and lets alice in by hers.
type door struct {
	name, kind string
	addresses  []string
	ways       []lab.SignIn
}

// An estate is doors of all kinds, and the files that alice signs in with.
type estate struct {
	testing.TB
	pki      *lab.PKI    // of which the intermediate is burnt
	issuer   *lab.Issuer // of the intermediate that comes after it
	bundle   string      // alice's certificate and key
	alice    driver.Material
	services *services
	java     java

	mu       sync.Mutex
	doors    []door        // guarded by mu
	settings []config.Door // guarded by mu
}

// starters is how many servers are started at the same time.
const starters = 3

// newEstate starts so many doors.
func newEstate(b *testing.B, size int) *estate {
	p := lab.NewPKI(b)
	e := &estate{TB: b, pki: p, issuer: lab.NewIssuer(b, p, p.Another(b)), alice: p.Client(b, "alice"), services: startServices(b, p.Root)}
	dir := lab.OpenDir(b)
	e.bundle = filepath.Join(dir, "alice.pem")
	lab.Write(b, e.bundle, lab.BundlePEM(b, e.alice))
	e.configure("alice", "pemfile", map[string]string{"bundle": e.bundle, "role": "client"})
	e.java.dir = lab.OpenDir(b)
	e.java.control = lab.FreePort(b)
	work := make(chan func())
	var group sync.WaitGroup
	for range starters {
		group.Go(func() {
			for start := range work {
				start()
			}
		})
	}
	for _, k := range kinds() {
		for i := range k.of(size) {
			work <- func() {
				if !b.Failed() {
					e.add(k.start(e, b, fmt.Sprintf("%s-%03d", k.name, i)))
				}
			}
		}
	}
	close(work)
	group.Wait()
	if b.Failed() {
		b.FailNow()
	}
	e.java.run(b)
	return e
}

func (e *estate) add(d door) {
	d.kind, _, _ = strings.Cut(d.name, "-")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doors = append(e.doors, d)
}

// configure names a door of the configuration.
func (e *estate) configure(name, driverName string, options map[string]string) {
	values := map[string]driver.Secret{}
	for key, value := range options {
		values[key] = driver.NewSecret(value)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings = append(e.settings, config.Door{Name: name, Driver: driverName, Options: values, Issue: config.DoorIssue{Issuer: "lab"}})
}

// waits is for what depends on how busy the machine is.
const waits = "2m"

func (e *estate) startNginx(t testing.TB, name string) door {
	n := lab.StartNginx(t, lab.NginxSettings{
		PKI: e.pki, Server: e.pki.Localhost(t), Clients: true, Cache: strings.HasSuffix(name, "1"),
		Listeners: []lab.NginxListener{{}, {}}, HTTP: "access_log off;\n",
	})
	e.configure(name, "nginx", map[string]string{
		"program": lab.Program(t, "nginx"), "config": n.Config, "error-log": n.ErrorLog, "deny": n.Deny, "patience": waits, "grace": "2s",
	})
	return door{name: name, addresses: n.Addresses, ways: []lab.SignIn{lab.OverHTTPS(n.Addresses[0]), lab.OverHTTPS(n.Addresses[1])}}
}

func (e *estate) startHAProxy(t testing.TB, name string) door {
	h := lab.StartHAProxy(t, lab.HAProxySettings{
		PKI: e.pki, Server: e.pki.Localhost(t), Clients: true, NoTickets: strings.HasSuffix(name, "1"),
		Listeners: []lab.HAProxyListener{{}, {}}, Global: "maxconn 200\ntune.ssl.cachesize 1000\n", Frontend: "no log\n",
	})
	e.configure(name, "haproxy", map[string]string{
		"program": lab.Program(t, "haproxy"), "config": h.Config, "socket": h.Socket, "pid-file": h.PIDFile, "deny": h.Deny, "patience": waits, "grace": "2s",
	})
	return door{name: name, addresses: h.Addresses, ways: []lab.SignIn{lab.OverHTTPS(h.Addresses[0]), lab.OverHTTPS(h.Addresses[1])}}
}

func (e *estate) startSlapd(t testing.TB, name string) door {
	s := lab.StartSlapd(t, lab.SlapdSettings{PKI: e.pki, Server: e.pki.Localhost(t), CRLs: e.pki.CRLs(t)})
	e.configure(name, "slapd", map[string]string{"socket": s.Socket, "server-name": "localhost"})
	return door{name: name, addresses: []string{s.LDAPS, s.LDAP}, ways: []lab.SignIn{lab.OverLDAPS(s.LDAPS)}}
}

func (e *estate) startPostfix(t testing.TB, name string) door {
	p := lab.StartPostfix(t, lab.PostfixSettings{PKI: e.pki, Clients: map[string]string{lab.PostfixPrint(e.alice.Chain[0]): "alice"}})
	e.configure(name, "postfix", map[string]string{"config": p.Config, "recipient": lab.Recipient, "patience": waits})
	return door{name: name, addresses: []string{p.SMTP, p.SMTPS}, ways: []lab.SignIn{lab.OverSMTP(p.SMTP, nil), lab.OverSMTPS(p.SMTPS)}}
}

func (e *estate) startDovecot(t testing.TB, name string) door {
	d := lab.StartDovecot(t, lab.DovecotSettings{PKI: e.pki, CertUsers: []string{"alice"}})
	e.configure(name, "dovecot", map[string]string{"config": d.Config, "patience": waits})
	return door{name: name, addresses: []string{d.IMAPS, d.IMAP, d.POP3, d.POP3S}, ways: []lab.SignIn{lab.OverIMAPS(d.IMAPS)}}
}

func (e *estate) startPostgres(t testing.TB, name string) door {
	p := lab.StartPostgres(t, lab.PostgresSettings{PKI: e.pki, Server: e.pki.Localhost(t), CRLs: e.pki.CRLs(t)})
	e.configure(name, "postgresql", map[string]string{
		"socket": p.Socket, "user": lab.PostgresAdmin, "password": lab.PostgresPassword, "server-name": "localhost", "client-user": "alice",
	})
	return door{name: name, addresses: []string{p.Address}, ways: []lab.SignIn{lab.OverPostgres(p.Address)}}
}

func (e *estate) startService(t testing.TB, name string) door {
	s := e.services.add(t, e.pki.Localhost(t))
	e.configure(name, "exec", map[string]string{
		"command": fmt.Sprint(e.services.command, " ", s.number), "verbs": "install,trust,block", "listeners": "https://" + s.address + "?sni=localhost", "patience": waits,
	})
	return door{name: name, addresses: []string{s.address}, ways: []lab.SignIn{lab.OverHTTPS(s.address)}}
}

// A java is one process with services that have a keystore and a truststore each.
type java struct {
	dir     string
	control int // port

	mu        sync.Mutex
	lines     []string // guarded by mu
	addresses []string // guarded by mu
}

const passphrase = "not-a-secret"

// startJava writes the stores of one service. Its keystore and its truststore are doors of
// the configuration both.
func (e *estate) startJava(t testing.TB, name string) door {
	port := lab.FreePort(t)
	keys, trusted := filepath.Join(e.java.dir, name+".p12"), filepath.Join(e.java.dir, name+".jks")
	shown := e.pki.Localhost(t)
	leaf, err := x509.ParseCertificate(shown.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	content, err := pkcs12.Modern2023.Encode(shown.Key, leaf, []*x509.Certificate{e.pki.Sub}, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	store := keystore.New()
	entry := keystore.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: keystore.Certificate{Type: "X509", Content: e.alice.Chain[0]}}
	var clients bytes.Buffer
	if err := store.SetTrustedCertificateEntry("alice", entry); err != nil {
		t.Fatal(err)
	}
	if err := store.Store(&clients, []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{keys: content, trusted: clients.Bytes()} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := lab.Loopback(port)
	e.java.mu.Lock()
	number := len(e.java.lines)
	e.java.lines = append(e.java.lines, fmt.Sprintln(port, keys, trusted))
	e.java.addresses = append(e.java.addresses, address)
	e.java.mu.Unlock()
	reload := fmt.Sprintf("bash %s %d", e.java.script(), number)
	listeners := "https://" + address + "?sni=localhost"
	e.configure(name, "keystore", map[string]string{"path": keys, "passphrase": passphrase, "reload": reload, "listeners": listeners, "patience": waits})
	e.configure(name+"-clients", "keystore", map[string]string{
		"path": trusted, "role": "truststore", "passphrase": passphrase, "reload": reload, "reload-closes": "true", "listeners": listeners,
	})
	return door{name: name, addresses: []string{address}, ways: []lab.SignIn{lab.OverHTTPS(address)}}
}

func (j *java) script() string { return filepath.Join(j.dir, "reload.sh") }

// run starts the process when all stores are there.
func (j *java) run(t testing.TB) {
	_, port, _ := net.SplitHostPort(lab.Loopback(j.control))
	list := filepath.Join(j.dir, "services")
	for path, text := range map[string]string{
		list:       strings.Join(j.lines, ""),
		j.script(): "exec 3<>/dev/tcp/127.0.0.1/" + port + "\necho $1 >&3\nread -r answer <&3\n[ \"$answer\" = ok ]\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(lab.Program(t, "javac"), "-d", j.dir, "testdata/Services.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	lab.Start(t, j.dir, nil, []string{lab.Program(t, "java"), "-Xmx1g", "-cp", j.dir, "Services", fmt.Sprint(j.control), list, passphrase},
		append(j.addresses, lab.Loopback(j.control))...)
}
