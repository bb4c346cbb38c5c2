// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// How the customers of the vendor are.
const (
	connectedOf = 10 // one customer in so many is connected
	sharing     = 30 // per cent of the connected who share their sign-in logs
	byHand      = 2  // per cent of the connected whose administrators let nobody else add a key
	lateOf      = 12 // one in so many of those has not done it at the deadline
)

// A cloud is the tenants of the connected customers.
type cloud struct {
	world     *entra.World
	servers   *entra.Servers
	customers []*customer
}

// A customer is a tenant that lets a product of the vendor in.
type customer struct {
	name    string
	tenant  *entra.Tenant
	app     entra.App // by which the product signs in
	mailbox string
	product string
	shares  bool // its sign-in log can be read by the vendor
	byHand  bool // its administrator adds keys
	late    bool // and forgets to
	hasDone bool // owned by Run's goroutine
}

// readable draws how long a sign-in takes until its record can be read: minutes in
// the cloud, seconds here, so that the case takes no hours.
func readable(r *mathrand.Rand) time.Duration {
	return 2*time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
}

// newCloud makes the tenants and starts their servers, which end with ctx.
func (p *play) newCloud(ctx context.Context) (*cloud, error) {
	// Half as long as Microsoft's: nobody but the emulator reads its tokens, and signing tens of
	// thousands would take longer than all else that it does.
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key for the tokens of the emulator: %w", err)
	}
	world, err := entra.New(entra.Config{Seed: p.Seed, TokenKey: key, SignInLatency: readable, AuditLatency: readable})
	if err != nil {
		return nil, fmt.Errorf("couldn't make the emulated cloud: %w", err)
	}
	c := &cloud{world: world}
	connections := p.Customers / connectedOf
	for i := range connections {
		c.customers = append(c.customers, p.newCustomer(c.world, i))
	}
	shuffled := slices.Clone(c.customers)
	p.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, one := range shuffled[:max(1, connections*sharing/100)] {
		one.shares = true
		one.tenant.AddApplication(entra.AppSpec{
			AppID: p.vendor.monitor, Name: "Log reader of the vendor", Certificates: [][]byte{p.vendor.monitorCertificate},
			Grants: []entra.Grant{{API: entra.Graph, Role: "AuditLog.Read.All"}, {API: entra.Graph, Role: "Directory.Read.All"}},
		})
	}
	p.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slow := shuffled[:max(1, connections*byHand/100)]
	for i, one := range slow {
		one.byHand, one.late = true, i%lateOf == 0
	}
	c.world.SetFaults(func(f *entra.Faults) { f.Inject = c.policies() })
	if c.servers, err = c.world.Start(ctx); err != nil {
		return nil, fmt.Errorf("couldn't start the emulator: %w", err)
	}
	return c, nil
}

func (p *play) newCustomer(w *entra.World, i int) *customer {
	product := p.vendor.products[i%len(p.vendor.products)]
	name := fmt.Sprintf("customer %05d", i*connectedOf+p.random.IntN(connectedOf))
	t := w.AddTenant(entra.TenantSpec{Name: name, Domain: strings.ReplaceAll(name, " ", "") + ".example"})
	app := t.AddApplication(entra.AppSpec{
		Name: product.title, Certificates: [][]byte{p.vendor.certificate.Raw},
		Grants: []entra.Grant{{API: entra.Graph, Role: "Mail.Read"}, {API: entra.Exchange, Role: "full_access_as_app"}},
	})
	mailbox := t.AddUser("office", "Office")
	t.Deliver(mailbox, entra.Message{Subject: "Welcome", From: "hello@vendor.example", Body: "Your mail is looked after."})
	one := &customer{name: name, tenant: t, app: app, mailbox: mailbox.PrincipalName, product: product.name}
	product.customers = append(product.customers, one)
	return one
}

// policies refuses changes of keys where an application management policy of the tenant leaves
// adding them to its administrators. Removing is nobody's business but the application's.
func (c *cloud) policies() func(entra.Attempt) *entra.Injected {
	strict := map[string]bool{}
	for _, one := range c.customers {
		if one.byHand {
			strict[one.tenant.ID] = true
		}
	}
	return func(a entra.Attempt) *entra.Injected {
		if strict[a.Tenant] && a.Service == entra.ServiceGraph && strings.HasSuffix(a.Path, "/addKey") {
			return &entra.Injected{Status: 403, Code: "Authorization_RequestDenied"}
		}
		return nil
	}
}

// sharing returns those who share their sign-in logs.
func (c *cloud) sharing() []*customer {
	return slices.DeleteFunc(slices.Clone(c.customers), func(one *customer) bool { return !one.shares })
}
