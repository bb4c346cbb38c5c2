// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"os/user"
	"strconv"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/est"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/spiffe"
)

// defaultESTProfile is what a device asks for that does not say: most both call and
// are called.
const defaultESTProfile = "mutual"

// newEST returns what serves EST; nil when it is off. failed is told of errors that are
// not the client's doing.
func newEST(h *house, c *ca.CA, failed func(*http.Request, error)) *est.Server {
	settings := h.config.Issuing.EST
	if !settings.On {
		return nil
	}
	profile := settings.Profile
	if profile == "" {
		profile = defaultESTProfile
	}
	var keys []string
	for _, p := range c.Profiles() {
		if p.Name == profile {
			keys = p.Keys
		}
	}
	return est.New(est.Config{CA: c, Access: h.access, Default: settings.Authority, Profile: profile, Keys: keys, Retry: settings.Retry, Now: h.now, Failed: failed})
}

// newSPIFFE returns what serves the Workload API; nil when it is off.
func newSPIFFE(h *house, c *ca.CA, failed func(error)) (*spiffe.Server, error) {
	settings := h.config.Issuing.SPIFFE
	if settings.Socket == "" {
		return nil, nil
	}
	var workloads []spiffe.Workload
	for i, w := range settings.Workloads {
		one, err := workloadOf(w)
		if err != nil {
			return nil, problem.With(fmt.Errorf("issuing.spiffe.workloads[%d]: %w", i, err), "see issuing.spiffe in the configuration")
		}
		workloads = append(workloads, one)
	}
	return spiffe.New(spiffe.Config{CA: c, Gate: h.gate, Socket: settings.Socket, Authority: settings.Authority, Workloads: workloads, Now: h.now, Failed: failed}), nil
}

// workloadOf looks up the numbers of users and groups, once: who has a name later is
// somebody else.
func workloadOf(w config.Workload) (spiffe.Workload, error) {
	id, err := spiffeid.FromString(w.ID)
	if err != nil {
		return spiffe.Workload{}, fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
	}
	one := spiffe.Workload{ID: id, Path: w.Path, SHA256: w.SHA256, Profile: w.Profile, Lifetime: w.Lifetime}
	one.User, err = idOf(w.User, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return spiffe.Workload{}, err
	}
	one.Group, err = idOf(w.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return one, err
}

// idOf reads a number, or looks a name up; nil of "".
func idOf(text string, lookUp func(string) (string, error)) (*uint32, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		number, err := lookUp(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
		}
		if n, err = strconv.ParseUint(number, 10, 32); err != nil {
			return nil, fmt.Errorf("%w: %q has no number", tallystick.ErrInvalid, text)
		}
	}
	id := uint32(n)
	return &id, nil
}
