// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Find looks at every target, several at a time.
func (f *Finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets, err := f.targets(ctx, request, sink)
	if err != nil {
		return err
	}
	look := lookout{timeout: f.options.Timeout, now: request.Now, sink: sink, dialer: f.dialer()}
	look.dialer.Abort = true
	each := network.Look{Targets: targets, Resume: request.Resume, Concurrency: f.options.Concurrency, Sink: sink}
	return each.Each(ctx, look.endpoint)
}

// targets returns where to look.
func (f *Finder) targets(ctx context.Context, request driver.FindRequest, sink driver.Sink) (*network.Targets, error) {
	if len(request.Targets) > 0 {
		return f.Grammar().Parse(ctx, request.Targets, network.Missing(sink, request.Now))
	}
	here, err := network.Listeners(os.DirFS("/proc"))
	if err != nil {
		return nil, fmt.Errorf("couldn't list the listening ports: %w", err)
	}
	return network.Of(slices.DeleteFunc(here, func(e network.Endpoint) bool { return !isServer(e) }))
}

// isServer says whether what listens at an endpoint of this machine is taken
// for an SSH server. To others nothing is sent.
func isServer(e network.Endpoint) bool {
	return e.Port == 22 || e.Process == "sshd" || e.Process == "dropbear"
}
