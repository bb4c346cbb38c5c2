// SPDX-License-Identifier: Apache-2.0

package nginx_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/nginx"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestSuite(t *testing.T) {
	drivertest.Run(t, drivertest.Suite{Driver: nginx.Driver()})
}

// opened returns the driver for a server of the lab.
func opened(t testing.TB, n *lab.Nginx, options ...string) *nginx.Door {
	t.Helper()
	values := map[string]string{"program": lab.Program(t, "nginx"), "config": n.Config, "error-log": n.ErrorLog, "deny": n.Deny, "patience": "10s", "grace": "1s"}
	for i := 0; i < len(options); i += 2 {
		values[options[i]] = options[i+1]
	}
	return drivertest.Open[*nginx.Door](t, nginx.Driver(), values)
}

func listeners(n *lab.Nginx) []driver.Listener {
	var all []driver.Listener
	for _, address := range n.Addresses {
		all = append(all, driver.Listener{Address: address, Protocol: "https", ServerName: "localhost"})
	}
	return all
}

// reads knows nginx -t, and the expansion of patterns.
func reads(c driver.Command) bool {
	return slices.Contains(c.Args, "-t") || slices.Contains(c.Args, "-c") && strings.HasPrefix(c.Args[2], "IFS=")
}

// A server without revocation lists, so that everything can be undone.
func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Start: func(t *testing.T) drivertest.Door {
		n := lab.StartNginx(t, lab.NginxSettings{Clients: true, NoCRL: true, Cache: true, Listeners: []lab.NginxListener{{}, {Name: "other.lab.test"}}})
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
		settings lab.NginxSettings
	}{
		{"with a list of denied certificates", lab.NginxSettings{Clients: true, Cache: true}},
		{"by lists alone", lab.NginxSettings{Clients: true, NoDeny: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			drivertest.Doors(t, drivertest.DoorSuite{Reads: reads, Verbs: []string{"block"}, Start: func(t *testing.T) drivertest.Door {
				n := lab.StartNginx(t, row.settings)
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

// reload has nginx read its files, as somebody else would, and waits until only workers
// that have read them take new connections.
func reload(t testing.TB, n *lab.Nginx) {
	t.Helper()
	before := strings.Fields(lab.Read(t, fmt.Sprintf("/proc/%d/task/%d/children", n.PID, n.PID)))
	output, err := host.Local().Run(context.Background(), driver.Command{Args: []string{lab.Program(t, "nginx"), "-c", n.Config, "-e", n.ErrorLog, "-s", "reload"}})
	if err != nil || output.Exit != 0 {
		t.Fatalf("nginx -s reload: %v %s", err, output.Stderr)
	}
	for range 1000 {
		time.Sleep(20 * time.Millisecond)
		if !slices.ContainsFunc(before, func(pid string) bool {
			title, err := os.ReadFile("/proc/" + pid + "/cmdline")
			return err == nil && strings.HasPrefix(string(title), "nginx: worker process") && !strings.Contains(string(title), "shutting down")
		}) {
			return
		}
	}
	t.Fatal("nginx does not reload")
}
