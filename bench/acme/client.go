// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

// A target is a server to measure.
type target struct {
	name      string
	directory string
	pid       int
	roots     string // a file
	httpPort  int    // where it proves names
	resolver  string // that it asks
}

// tick is how long the kernel's unit of CPU time is (USER_HZ, which is 100 wherever
// Linux runs: man 5 proc).
const tick = 10 * time.Millisecond

// cpuSeconds returns what a process has spent, in user and kernel mode.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, at := range []int{11, 12} { // utime and stime, behind pid and name
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return (time.Duration(ticks) * tick).Seconds(), nil
}

// proofs answers the server's questions: names are this machine, and proofs are there.
type proofs struct{ byPath sync.Map }

func (p *proofs) Present(_ context.Context, c acme.Challenge) error {
	p.byPath.Store(c.HTTP01ResourcePath(), c.KeyAuthorization)
	return nil
}

func (p *proofs) CleanUp(_ context.Context, c acme.Challenge) error {
	p.byPath.Delete(c.HTTP01ResourcePath())
	return nil
}

func (p *proofs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text, ok := p.byPath.Load(r.URL.Path); ok {
		fmt.Fprint(w, text)
		return
	}
	http.NotFound(w, r)
}

// ServeDNS says that every name is 127.0.0.1.
func (p *proofs) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	reply := new(dns.Msg).SetReply(m)
	if q := m.Question[0]; q.Qtype == dns.TypeA {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 0, 0, 1)})
	}
	_ = w.WriteMsg(reply)
}

// listen serves the proofs of a target until stop.
func (p *proofs) listen(t target) (stop func(), err error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", t.httpPort))
	if err != nil {
		return nil, err
	}
	packets, err := net.ListenPacket("udp", t.resolver)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	web, names := &http.Server{Handler: p}, &dns.Server{PacketConn: packets, Handler: p}
	go func() { _ = web.Serve(l) }()
	go func() { _ = names.ActivateAndServe() }()
	return func() { _, _ = web.Close(), names.Shutdown() }, nil
}

// client makes an HTTP client that trusts the target.
func (t target) client(keep bool) (*http.Client, error) {
	text, err := os.ReadFile(t.roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", t.roots)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64, DisableKeepAlives: !keep}}, nil
}

// measure orders certificates in rounds, after a short one to warm up, and returns the
// medians of what 1,000 cost the server, and of how long a round took.
func (t target) measure(o options) (cpu float64, wall time.Duration, err error) {
	p := &proofs{}
	stop, err := p.listen(t)
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	c, accounts, err := t.enrol(p, o.parallel)
	if err != nil {
		return 0, 0, err
	}
	var spent []float64
	var took []time.Duration
	names := &atomic.Int64{}
	for round := range o.rounds + 1 {
		n := o.orders
		if round == 0 {
			n = min(50, o.orders)
		}
		before, err := cpuSeconds(t.pid)
		if err != nil {
			return 0, 0, err
		}
		began := time.Now()
		if err := order(c, accounts, n, names); err != nil {
			return 0, 0, err
		}
		after, err := cpuSeconds(t.pid)
		if err != nil {
			return 0, 0, err
		}
		if round > 0 {
			spent, took = append(spent, (after-before)/float64(n)*1000), append(took, time.Since(began))
		}
	}
	return median(spent), median(took), nil
}

func median[T float64 | time.Duration](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// inParallel calls fn n times, by as many workers as at says, and returns the first errors.
func inParallel(n, at int, fn func(worker, i int) error) error {
	var all sync.WaitGroup
	var next atomic.Int64
	failures := make([]error, at)
	for worker := range at {
		all.Go(func() {
			for failures[worker] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				failures[worker] = fn(worker, i)
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// order orders n certificates, each for a new name and a new key. Each worker has an
// account: step-ca fails when one account orders several at once.
func order(c acmez.Client, accounts []acme.Account, n int, names *atomic.Int64) error {
	return inParallel(n, len(accounts), func(worker, _ int) error {
		_, err := obtain(c, accounts[worker], fmt.Sprintf("n%d.lab.test", names.Add(1)))
		return err
	})
}

// obtain orders one certificate and returns its chain.
func obtain(c acmez.Client, account acme.Account, name string) ([]acme.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return c.ObtainCertificateForSANs(context.Background(), account, key, []string{name})
}

// enrol makes a client with accounts.
func (t target) enrol(p *proofs, n int) (acmez.Client, []acme.Account, error) {
	h, err := t.client(true)
	if err != nil {
		return acmez.Client{}, nil, err
	}
	c := acmez.Client{Client: &acme.Client{Directory: t.directory, HTTPClient: h, PollInterval: 10 * time.Millisecond}, ChallengeSolvers: map[string]acmez.Solver{"http-01": p}}
	var accounts []acme.Account
	for range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return c, nil, err
		}
		account, err := c.NewAccount(context.Background(), acme.Account{PrivateKey: key, TermsOfServiceAgreed: true, Contact: []string{"mailto:ops@lab.test"}})
		if err != nil {
			return c, nil, err
		}
		accounts = append(accounts, account)
	}
	return c, accounts, nil
}

// poll asks for the windows of one certificate after the other, and returns what that
// cost the server.
func (t target) poll(n, parallel int, keep bool) (float64, error) {
	urls, err := t.windows()
	if err != nil {
		return 0, err
	}
	h, err := t.client(keep)
	if err != nil {
		return 0, err
	}
	before, err := cpuSeconds(t.pid)
	if err != nil {
		return 0, err
	}
	err = inParallel(n, parallel, func(_, i int) error {
		a, err := h.Get(urls[i%len(urls)])
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, a.Body); err != nil {
			return err
		}
		if err := a.Body.Close(); err != nil || a.StatusCode != http.StatusOK {
			return errors.Join(err, fmt.Errorf("status %d", a.StatusCode))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	after, err := cpuSeconds(t.pid)
	return after - before, err
}

// windows orders a few hundred certificates and returns where their windows are.
func (t target) windows() ([]string, error) {
	p := &proofs{}
	stop, err := p.listen(t)
	if err != nil {
		return nil, err
	}
	defer stop()
	c, accounts, err := t.enrol(p, 1)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(t.directory, "directory") + "renewal-info/"
	var urls []string
	for i := range 300 {
		chains, err := obtain(c, accounts[0], fmt.Sprintf("w%d.lab.test", i))
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(chains[0].ChainPEM)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		id, err := acme.ARIUniqueIdentifier(leaf)
		if err != nil {
			return nil, err
		}
		urls = append(urls, base+id)
	}
	return urls, nil
}
