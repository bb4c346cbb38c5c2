// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// networkPatience is how long a page waits for counting networks. What is
	// not counted by then is counted behind it, and shown as it was before.
	networkPatience = 50 * time.Millisecond
	// mostNetworks is how many networks are remembered, some megabytes.
	mostNetworks = 10_000
	// mostRows is how many rows one question is answered with.
	mostRows = 1000
)

// A networkCache remembers what was counted in networks.
type networkCache struct {
	wanted chan string // asks Run to count one

	mu      sync.Mutex
	known   map[string]countedNetwork // guarded by mu; by the name
	running bool                      // guarded by mu; whether Run counts
}

// A countedNetwork is what was last counted; Counted is zero when nothing was.
type countedNetwork struct {
	store.Network
	took  time.Duration
	asked bool // Run has been asked to count it
}

// Networks returns what is in the networks, in their order after one; "" begins.
// In a server, the numbers of large ones may be older than the question, or not
// be there yet: see store.Network.Counted.
func (i *Inventory) Networks(ctx context.Context, actor gate.Actor, after string, limit int) ([]store.Network, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, "networks"); err != nil {
		return nil, err
	}
	names, err := i.db.NetworkNames(ctx, after, min(max(limit, 1), mostRows))
	if err != nil {
		return nil, err
	}
	patient, stop := i.patient(ctx)
	defer stop()
	list := make([]store.Network, len(names))
	for n, name := range names {
		if list[n], err = i.network(ctx, patient, name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Network returns one network, as Networks does, and of its places where something
// is all or limit.
func (i *Inventory) Network(ctx context.Context, actor gate.Actor, name string, limit int) (store.Network, []store.Endpoint, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, "network "+name); err != nil {
		return store.Network{}, nil, err
	}
	if err := store.CheckNetwork(name); err != nil || name == "" {
		n, err := i.db.Network(ctx, name) // which says what is wrong
		return n, nil, err
	}
	patient, stop := i.patient(ctx)
	defer stop()
	network, err := i.network(ctx, patient, name)
	if err != nil {
		return network, nil, err
	}
	endpoints, err := i.db.Endpoints(ctx, name, limit)
	return network, endpoints, err
}

// patient returns a context that ends when a page has waited long enough. Where
// nothing counts behind it, as in a command, it waits.
func (i *Inventory) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	c := &i.networks
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, networkPatience)
}

// network counts one network, or has it counted when patient ends before that.
func (i *Inventory) network(ctx, patient context.Context, name string) (store.Network, error) {
	c := &i.networks
	c.mu.Lock()
	known := c.known[name]
	c.mu.Unlock()
	if known.Counted.IsZero() {
		known.Network = store.Network{Name: name, Protocols: []string{}, Missed: []store.MissCount{}}
	}
	if !known.Counted.IsZero() && i.now().Sub(known.Counted) < summaryShare*known.took {
		return known.Network, nil
	}
	if known.took < networkPatience && patient.Err() == nil {
		n, err := i.countNetwork(patient, name)
		if err == nil || patient.Err() == nil || ctx.Err() != nil {
			return n, err
		}
	}
	i.askFor(name)
	return known.Network, ctx.Err()
}

// askFor has a network counted behind the pages, once.
func (i *Inventory) askFor(name string) {
	c := &i.networks
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known[name]
	if known.asked {
		return
	}
	select {
	case c.wanted <- name:
		known.asked = true
		c.remember(name, known)
	default: // so many are asked for that the next page asks again
	}
}

// remember is called with mu held.
func (c *networkCache) remember(name string, n countedNetwork) {
	if len(c.known) >= mostNetworks {
		clear(c.known)
	}
	c.known[name] = n
}

// countNetwork counts and remembers.
func (i *Inventory) countNetwork(ctx context.Context, name string) (store.Network, error) {
	began := i.now()
	n, err := i.db.Network(ctx, name)
	if err != nil {
		return n, err
	}
	n.Counted = i.now()
	c := &i.networks
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remember(name, countedNetwork{n, n.Counted.Sub(began), c.known[name].asked})
	return n, nil
}

// countNetworks counts the networks that pages ask for, until ctx ends.
func (i *Inventory) countNetworks(ctx context.Context, failed func(error)) {
	c := &i.networks
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-c.wanted:
			if _, err := i.countNetwork(ctx, name); err != nil && ctx.Err() == nil {
				failed(err)
			}
			c.answered(name)
		}
	}
}

// answered lets a network be asked for again.
func (c *networkCache) answered(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known[name]
	known.asked = false
	c.remember(name, known)
}
