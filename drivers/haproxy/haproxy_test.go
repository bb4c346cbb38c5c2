// SPDX-License-Identifier: Apache-2.0

package haproxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/haproxy"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestSuite(t *testing.T) {
	drivertest.Run(t, drivertest.Suite{Driver: haproxy.Driver()})
}

// opened returns the driver for a server of the lab.
func opened(t testing.TB, n *lab.HAProxy, options ...string) *haproxy.Door {
	t.Helper()
	values := map[string]string{"program": lab.Program(t, "haproxy"), "config": n.Config, "socket": n.Socket, "pid-file": n.PIDFile, "deny": n.Deny, "patience": "10s", "grace": "1s"}
	for i := 0; i < len(options); i += 2 {
		values[options[i]] = options[i+1]
	}
	door, err := haproxy.Driver().Open(values)
	if err != nil {
		t.Fatal(err)
	}
	return door.(*haproxy.Door)
}

func listeners(n *lab.HAProxy) []driver.Listener {
	var all []driver.Listener
	for _, address := range n.Addresses {
		all = append(all, driver.Listener{Address: address, Protocol: "https", ServerName: "localhost"})
	}
	return all
}

// good asks as somebody whom every server of the lab lets in.
func good(addresses []string, pki *lab.PKI, m driver.Material) func() error {
	roots := x509.NewCertPool()
	roots.AddCert(pki.Root)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{{Certificate: m.Chain, PrivateKey: m.Key}}}
	return func() error {
		for _, address := range addresses {
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
			answer, err := client.Get("https://" + address + "/")
			if err != nil {
				return err
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", address, answer.Status)
			}
		}
		return nil
	}
}

// reads knows haproxy -c.
func reads(c driver.Command) bool { return slices.Contains(c.Args, "-q") }

// above is a credential with its root, as a caller has it that hands over all CAs.
func above(p *lab.PKI, m driver.Material) driver.Material {
	m.Chain = append(slices.Clone(m.Chain), p.Root.Raw)
	return m
}

// A server without revocation lists, so that everything can be undone.
func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Start: func(t *testing.T) drivertest.Door {
		n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoCRL: true, Listeners: []lab.HAProxyListener{{}, {}}})
		other := lab.NewPKI(t)
		return drivertest.Door{
			Opened: opened(t, n), Host: host.Local(), Shown: n.Server, Next: n.PKI.Localhost(t),
			Client: n.PKI.Client(t, "alice"), NextClient: above(other, other.Client(t, "alice")),
			Listeners: listeners(n), Good: good(n.Addresses, n.PKI, n.PKI.Client(t, "bob")),
		}
	}})
}

// blocking has the verbs of a door that are of interest where it reads lists.
type blocking struct {
	driver.Looker
	driver.Blocker
}

func TestDoorThatReadsLists(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		settings lab.HAProxySettings
	}{
		{"with a list of denied certificates", lab.HAProxySettings{Clients: true}},
		{"by lists alone", lab.HAProxySettings{Clients: true, NoDeny: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Start: func(t *testing.T) drivertest.Door {
				n := lab.StartHAProxy(t, row.settings)
				door, alice := opened(t, n), n.PKI.Client(t, "alice")
				crl := read(t, n.CRL)
				return drivertest.Door{
					Opened: blocking{door, door}, Host: host.Local(), Client: alice, CRLs: n.PKI.CRLs(t, alice.Public),
					Listeners: listeners(n), Good: good(n.Addresses, n.PKI, n.PKI.Client(t, "bob")),
					Reset: func(t *testing.T) {
						write(t, n.CRL, crl)
						write(t, n.Deny, "")
						reload(t, n)
					},
				}
			}})
		})
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// workers are the processes that the master has started.
func workers(t testing.TB, n *lab.HAProxy) []string {
	t.Helper()
	return strings.Fields(read(t, fmt.Sprintf("/proc/%d/task/%d/children", n.PID, n.PID)))
}

// reload has HAProxy read its files, as somebody else would, and waits until only a
// process that has read them takes connections. The tests have few long ones.
func reload(t testing.TB, n *lab.HAProxy) {
	t.Helper()
	before := workers(t, n)
	for i := range 1000 {
		if i%100 == 0 { // a master that reloads ignores what asks it to
			if err := syscall.Kill(n.PID, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Millisecond)
		now := workers(t, n)
		fresh := slices.ContainsFunc(now, func(pid string) bool { return !slices.Contains(before, pid) })
		if fresh && (len(now) == 1 || i > 100) {
			time.Sleep(20 * time.Millisecond)
			return
		}
	}
	t.Fatal("HAProxy does not reload")
}
