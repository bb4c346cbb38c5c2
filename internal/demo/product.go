// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/oauth"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/lab/entra"
)

// A product of the vendor signs in at its customers and reads their mail. It keeps a book of
// its uses, and reads its certificate anew when the file changes.
type product struct {
	name, title string
	address     string // from which it connects; loopback, which the logs show as another one
	bundle      string // file of its certificate and key
	records     string // file of its book
	customers   []*customer

	servers *entra.Servers
	client  *http.Client // writes its requests down
	plain   *http.Client
	book    *holder.Book

	uses, failures atomic.Int64
	ended          chan struct{} // closed when the book is

	mu        sync.Mutex
	changed   time.Time         // guarded by mu; of the file
	now       driver.Material   // guarded by mu
	before    driver.Material   // guarded by mu; what now took the place of
	last      map[string]string // guarded by mu; correlation id of the last sign-in, by tenant
	suspended map[string]bool   // guarded by mu; tenants that it leaves alone
	visits    map[string]bool   // guarded by mu
	trouble   []string          // guarded by mu; the first failures, for people
}

// visitors is how many connections a product works at together.
const visitors = 6

func (p *product) open(s *entra.Servers) error {
	p.servers, p.ended = s, make(chan struct{})
	p.last, p.suspended, p.visits = map[string]string{}, map[string]bool{}, map[string]bool{}
	var err error
	p.book, err = holder.Open(holder.Config{Source: p.name, Holder: p.name, File: p.records, Close: 500 * time.Millisecond})
	if err != nil {
		return fmt.Errorf("couldn't open the book of %s: %w", p.name, err)
	}
	p.plain, p.client = s.Client(p.address), s.Client(p.address)
	p.client.Transport = p.book.Transport(p.client.Transport)
	return nil
}

// catchUpTime is how long a product that starts takes for all its connections, at most: it has
// all mail to fetch that came meanwhile.
const catchUpTime = 12 * time.Second

// run works until ctx ends.
func (p *product) run(ctx context.Context, pace time.Duration) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { _ = p.book.Run(ctx) }) // what it could not write is in its Status
	rounds(ctx, len(p.customers), visitors, min(pace, catchUpTime), pace, func(i int) { p.visit(ctx, p.customers[i]) })
}

// rounds does something for each of n again and again until ctx ends, several at a time. The
// first round and each later one take as long as it says.
func rounds(ctx context.Context, n, together int, first, later time.Duration, do func(i int)) {
	if n == 0 {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	work := make(chan int)
	for range together {
		all.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	defer close(work)
	each := func(round time.Duration) time.Duration { return max(round/time.Duration(n), time.Millisecond) }
	gap := time.NewTicker(each(first))
	defer gap.Stop()
	for i := 0; ; i++ {
		if i == n {
			gap.Reset(each(later))
		}
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
		select {
		case <-ctx.Done():
			return
		case work <- i % n:
		}
	}
}

// visit is one sign-in at one customer, and a look into its mail.
func (p *product) visit(ctx context.Context, one *customer) {
	if p.isSuspended(one.tenant.ID) {
		return
	}
	err := p.readMail(ctx, one)
	if ctx.Err() != nil || p.isSuspended(one.tenant.ID) {
		return
	}
	p.uses.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.visits[one.tenant.ID] = true
	if err != nil {
		if p.failures.Add(1) <= 20 {
			p.trouble = append(p.trouble, fmt.Sprintf("%s %s at %s: %v", time.Now().Format("15:04:05.000"), p.name, one.name, err))
		}
	}
}

func (p *product) readMail(ctx context.Context, one *customer) error {
	token, err := p.signIn(ctx, one)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.servers.Graph+"/v1.0/users/"+url.PathEscape(one.mailbox)+"/messages?$top=5", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := p.plain.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("reading mail: %s", response.Status)
	}
	return nil
}

// signIn signs in with the certificate as it is now. A tenant that does not know it yet is
// shown the one before: a certificate is put to use while some customers still wait for theirs.
func (p *product) signIn(ctx context.Context, one *customer) (string, error) {
	now, before, err := p.credentials()
	if err != nil {
		return "", err
	}
	token, err := p.signInWith(ctx, one, now)
	if refused := (refusal{}); errors.As(err, &refused) && before.Key != nil {
		return p.signInWith(ctx, one, before)
	}
	return token, err
}

// A refusal is an answer that says no to the credential.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// patience is how often a product comes again where the cloud asks it to wait.
const patience = 5

func (p *product) signInWith(ctx context.Context, one *customer, m driver.Material) (string, error) {
	endpoint, err := oauth.ParseEndpoint(p.servers.Login + "/" + one.tenant.ID + "/oauth2/v2.0/token")
	if err != nil {
		return "", err
	}
	form, err := oauth.Request{Endpoint: endpoint, ClientID: one.app.Application.AppID, Scope: entra.ScopeGraph, Credential: m}.Form(time.Now())
	if err != nil {
		return "", err
	}
	correlation := uuid.NewString()
	p.mu.Lock()
	p.last[one.tenant.ID] = correlation
	p.mu.Unlock()
	for range patience {
		answer, status, err := p.ask(ctx, endpoint.String(), form, correlation)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusOK && answer.Token.Reveal() != "":
			return answer.Token.Reveal(), nil
		case answer.Refused(status):
			return "", refusal{answer.Description}
		case status != http.StatusTooManyRequests:
			return "", fmt.Errorf("signing in: status %d: %s", status, answer.Description)
		}
		if err := rest(ctx, time.Second); err != nil {
			return "", err
		}
	}
	return "", errors.New("signing in: too many requests")
}

func (p *product) ask(ctx context.Context, endpoint, form, correlation string) (oauth.Answer, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form))
	if err != nil {
		return oauth.Answer{}, 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Client-Request-Id", correlation)
	response, err := p.client.Do(request)
	if err != nil {
		return oauth.Answer{}, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, oauth.MaxAnswer))
	return oauth.Read(response.Header, body), response.StatusCode, err
}

// credentials returns what the file has now, and what it had before that.
func (p *product) credentials() (now, before driver.Material, err error) {
	info, err := os.Stat(p.bundle)
	if err != nil {
		return now, before, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !info.ModTime().Equal(p.changed) {
		m, err := readBundle(p.bundle)
		if err != nil {
			return now, before, err
		}
		if !m.Is(p.now.Public) {
			p.now, p.before = m, p.now
		}
		p.changed = info.ModTime()
	}
	return p.now, p.before, nil
}

// readBundle reads a file of a certificate with those above it and its key.
func readBundle(path string) (driver.Material, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return driver.Material{}, err
	}
	m, err := installing.ReadPEM(text)
	if err == nil && m.Key == nil {
		err = fmt.Errorf("there is no key in %s", path)
	}
	return m, err
}

// correlation returns the correlation id of the last sign-in at a tenant.
func (p *product) correlation(tenant string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[tenant]
}

func (p *product) visited() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.visits)
}

func (p *product) isSuspended(tenant string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.suspended[tenant]
}

// suspend has the product leave tenants alone until they are named no more.
func (p *product) suspend(tenants map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = tenants
}

// troubles returns the first failures.
func (p *product) troubles() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trouble)
}
