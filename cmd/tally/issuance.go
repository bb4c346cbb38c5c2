// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/server"
	"github.com/tallystick/tallystick/internal/spiffe"
	"github.com/tallystick/tallystick/internal/sshca"
)

// An issuance is what a server does with the CA: it publishes what was revoked,
// renews, and speaks the protocols of the configuration.
type issuance struct {
	issuing   *issuing.Issuing
	ca        *ca.CA
	publisher *revocation.Publisher
	renewals  *renewal.Engine
	ssh       *sshca.SSH
	acme      *acme.Server   // nil where it is off
	spiffe    *spiffe.Server // nil where it is off

	ports    []port        // beside that of the pages
	recalled chan struct{} // holds one when certificates were recalled
	log      *slog.Logger
}

// A port serves one thing on an address of its own.
type port struct {
	name     string
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config // nil: without TLS
}

// openIssuance puts it together, and opens the ports.
func (p *program) openIssuance(ctx context.Context, h *house, own net.Addr, log *slog.Logger) (*issuance, error) {
	if err := h.wakeCustody(ctx, log); err != nil {
		return nil, err
	}
	authorities, err := h.openCA()
	if err != nil {
		return nil, err
	}
	rules, err := policyOf(h.config)
	if err != nil {
		return nil, err
	}
	i := &issuance{log: log, recalled: make(chan struct{}, 1), ca: authorities, publisher: p.newPublisher(h, authorities, true)}
	i.ssh = sshca.New(authorities, h.db, h.now)
	h.ca.revoked = i.publisher.Revoked
	h.ca.recalled = func() {
		select {
		case i.recalled <- struct{}{}:
		default: // it is looked at anyhow
		}
	}
	if i.renewals, err = h.openRenewals(); err != nil {
		return nil, err
	}
	i.issuing = &issuing.Issuing{CA: authorities, Gate: h.gate, Policy: rules, Lists: i.publisher, Renewals: i.renewals}
	if err := i.open(ctx, "issuing.http", h.config.Issuing.HTTP, port{name: "lists", handler: i.published()}); err != nil {
		return nil, err
	}
	if i.spiffe, err = newSPIFFE(h, authorities, func(err error) { log.Error("the Workload API failed", "error", err) }); err != nil {
		return nil, err
	}
	i.acme = newACME(h, authorities, log, i.addresses(own))
	if i.acme != nil {
		i.issuing.ACME = p.desk(h)
	}
	return i, nil
}

// wakeCustody opens the custody at the start when it holds anything, so that a wrong
// wrapping key shows now. One that is out of reach is waited for.
func (h *house) wakeCustody(ctx context.Context, log *slog.Logger) error {
	if err := custody.Harden(); err != nil {
		log.Warn("memory of this process cannot be kept from others", "error", err)
	}
	keys, err := custody.Keys(ctx, h.db)
	if err != nil || len(keys) == 0 {
		return err
	}
	_, err = h.openCustody(ctx)
	return err
}

// openEST opens the port of EST: it shows the certificate of the pages, and asks for
// one without demanding it.
func (i *issuance) openEST(ctx context.Context, h *house, certificate *server.Certificate, log *slog.Logger) error {
	handler := newEST(h, i.ca, func(r *http.Request, err error) {
		log.Error("a request of EST failed", "path", r.URL.Path, "error", err)
	})
	if handler == nil {
		return nil
	}
	return i.open(ctx, "issuing.est.listen", h.config.Issuing.EST.Listen, port{name: "EST", handler: handler, tls: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get, ClientAuth: tls.RequestClientCert,
		// Some clients take the first record for the whole answer.
		DynamicRecordSizingDisabled: true,
	}})
}

// open opens a port where the configuration has an address for it.
func (i *issuance) open(ctx context.Context, setting, address string, one port) error {
	if address == "" {
		return nil
	}
	var err error
	if one.listener, err = listen(ctx, address); err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	i.ports = append(i.ports, one)
	return nil
}

// avoidOwn tells ACME of the ports that were opened after it: that of EST, and of syslog
// where there is one.
func (i *issuance) avoidOwn(syslog net.Listener) {
	if i.acme == nil {
		return
	}
	var more []net.Addr
	if syslog != nil {
		more = append(more, syslog.Addr())
	}
	i.acme.Avoid(i.addresses(more...)...)
}

// addresses are where this program listens, so that it never connects to itself.
func (i *issuance) addresses(own ...net.Addr) []netip.AddrPort {
	var list []netip.AddrPort
	for _, address := range append(own, addressesOf(i.ports)...) {
		if tcp, ok := address.(*net.TCPAddr); ok {
			list = append(list, tcp.AddrPort())
		}
	}
	return list
}

func addressesOf(ports []port) []net.Addr {
	var list []net.Addr
	for _, one := range ports {
		list = append(list, one.listener.Addr())
	}
	return list
}

// published is what everybody may read: of a CA for SSH the list of revoked keys, of
// others their certificates and lists.
func (i *issuance) published() http.Handler {
	lists := i.publisher.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".krl") {
			if err := i.ssh.ServeList(w, r); err != nil {
				i.log.Error("the list of revoked SSH keys cannot be had", "error", err)
				http.Error(w, "The list cannot be had now. Try again in a minute.", http.StatusServiceUnavailable)
			}
			return
		}
		lists.ServeHTTP(w, r)
	})
}

// protocols are what is served beside the pages.
func (i *issuance) protocols() []server.Protocol {
	list := []server.Protocol{{Prefix: "/pki/", Handler: i.published()}}
	if i.acme != nil {
		list = append(list, server.Protocol{Prefix: "/acme/", Handler: i.acme})
	}
	return list
}

// served says in a line each what is served beside the pages, and where.
func (i *issuance) served(c *config.Config, url string) []string {
	var list []string
	if i.acme != nil {
		list = append(list, "ACME         "+url+"/acme/CA/directory, for each CA")
	}
	for _, one := range i.ports {
		switch one.name {
		case "EST":
			list = append(list, "EST          "+urlOf(one.listener.Addr())+"/.well-known/est/CA, for each CA")
		case "lists":
			list = append(list, "Lists        http://"+one.listener.Addr().String()+"/pki/CA.crl, for each CA")
		}
	}
	if i.spiffe != nil {
		list = append(list, "SPIFFE       unix://"+c.Issuing.SPIFFE.Socket)
	}
	return list
}

// run keeps everything going until ctx ends.
func (i *issuance) run(ctx context.Context, h *house, parts *sync.WaitGroup, log *slog.Logger) {
	part := func(name string, run func(context.Context, func(error)) error) {
		parts.Go(func() { keep(ctx, log, name, run) })
	}
	part("CA", i.ca.Run)
	part("lists of revoked certificates", func(ctx context.Context, _ func(error)) error { return i.publisher.Run(ctx) })
	part("renewals", func(ctx context.Context, failed func(error)) error { return renew(ctx, h, i.renewals, failed) })
	part("recalls", func(ctx context.Context, failed func(error)) error { return i.lookAgain(ctx, failed) })
	if i.acme != nil {
		part("ACME", func(ctx context.Context, _ func(error)) error { return i.acme.Run(ctx) })
	}
	if i.spiffe != nil {
		part("Workload API", func(ctx context.Context, _ func(error)) error { return i.spiffe.Run(ctx) })
	}
	for _, one := range i.ports {
		part(one.name, func(ctx context.Context, _ func(error)) error { return one.serve(ctx, log) })
	}
}

// lookAgain has the renewals of our own CAs looked at as soon as something of theirs is
// recalled.
func (i *issuance) lookAgain(ctx context.Context, failed func(error)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-i.recalled:
		}
		list, err := i.ca.Authorities(ctx)
		for _, a := range list {
			err = errors.Join(err, i.renewals.LookAgain(ctx, renewal.OwnPrefix+a.Name))
		}
		if err != nil {
			failed(err)
		}
	}
}

// Limits of what one client can hold up at a port.
const (
	portHeaderTime = 5 * time.Second
	portTime       = 30 * time.Second
	portStopTime   = 5 * time.Second
)

// serve answers requests until ctx ends.
func (o port) serve(ctx context.Context, log *slog.Logger) error {
	s := &http.Server{
		Handler: o.handler, TLSConfig: o.tls, ReadHeaderTimeout: portHeaderTime, ReadTimeout: portTime, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if o.tls != nil {
			ended <- s.ServeTLS(o.listener, "", "")
		} else {
			ended <- s.Serve(o.listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("couldn't serve %s: %w", o.name, err)
	case <-ctx.Done():
	}
	// The context of the stop must outlive the one that asked for it.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), portStopTime)
	defer cancel()
	err := s.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-ended
	return err
}

// close gives up the ports, which are closed already where they were served.
func (i *issuance) close() error {
	var errs error
	for _, one := range i.ports {
		if err := one.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}
