// SPDX-License-Identifier: Apache-2.0

package haproxy_test

import (
	"fmt"
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
	return drivertest.Open[*haproxy.Door](t, haproxy.Driver(), values)
}

func listeners(n *lab.HAProxy) []driver.Listener {
	var all []driver.Listener
	for _, address := range n.Addresses {
		all = append(all, driver.Listener{Address: address, Protocol: "https", ServerName: "localhost"})
	}
	return all
}

// reads knows haproxy -c.
func reads(c driver.Command) bool { return slices.Contains(c.Args, "-q") }

// A server without revocation lists, so that everything can be undone.
func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Start: func(t *testing.T) drivertest.Door {
		n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoCRL: true, Listeners: []lab.HAProxyListener{{}, {}}})
		other := lab.NewPKI(t)
		return drivertest.Door{
			Opened: opened(t, n), Host: host.Local(), Shown: n.Server, Next: n.PKI.Localhost(t),
			Client: n.PKI.Client(t, "alice"), NextClient: other.WithRoot(other.Client(t, "alice")),
			Listeners: listeners(n), Good: n.PKI.Gets(n.Addresses, n.PKI.Client(t, "bob")),
		}
	}})
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
			drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Verbs: []string{"block"}, Start: func(t *testing.T) drivertest.Door {
				n := lab.StartHAProxy(t, row.settings)
				door, alice := opened(t, n), n.PKI.Client(t, "alice")
				crl := lab.Read(t, n.CRL)
				return drivertest.Door{
					Opened: door, Host: host.Local(), Client: alice, CRLs: n.PKI.CRLs(t, alice.Public),
					Listeners: listeners(n), Good: n.PKI.Gets(n.Addresses, n.PKI.Client(t, "bob")),
					Reset: func(t *testing.T) {
						lab.Write(t, n.CRL, crl)
						lab.Write(t, n.Deny, "")
						reload(t, n)
					},
				}
			}})
		})
	}
}

// workers are the processes that the master has started.
func workers(t testing.TB, n *lab.HAProxy) []string {
	t.Helper()
	return strings.Fields(lab.Read(t, fmt.Sprintf("/proc/%d/task/%d/children", n.PID, n.PID)))
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
