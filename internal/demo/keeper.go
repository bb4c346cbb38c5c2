// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
)

// A keeper is the part of a product that signs in with what customers have entrusted. It asks
// the vault for each value, over HTTPS with a token of its own, and keeps it for a moment.
type keeper struct {
	product, title string
	token          int64        // its number
	bearer         string       // the token
	client         *http.Client // nil before the server runs
	secrets        []*secret

	uses, failures, given atomic.Int64

	mu      sync.Mutex
	kept    map[*secret]given // guarded by mu
	used    map[*secret]bool  // guarded by mu
	trouble []string          // guarded by mu; the first failures, for people
}

// A given is a value with the time when the vault gave it.
type given struct {
	value string
	at    time.Time
}

// keptFor is after what time a product asks the vault again.
const keptFor = 2 * time.Second

func newKeeper(product, title string) *keeper {
	return &keeper{product: product, title: title, kept: map[*secret]given{}, used: map[*secret]bool{}}
}

// name is how the vault calls it.
func (k *keeper) name() string { return fmt.Sprintf("token:%d", k.token) }

func (k *keeper) keep(one *secret) { k.secrets = append(k.secrets, one) }

// makeToken gives a product a token for the API.
func (p *program) makeToken(ctx context.Context, k *keeper) error {
	text, err := p.typed(ctx, "token", "create", k.product, "--role", "client")
	if err != nil {
		return err
	}
	list, err := p.run(ctx, "token", "list", "--json", "--config", p.config)
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		var one struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return err
		}
		if one.Name == k.product {
			k.token = one.ID
		}
	}
	k.bearer = strings.TrimSpace(text)
	return nil
}

// open begins to ask the vault.
func (k *keeper) open(p *program) error {
	client, err := p.newClient()
	if err != nil {
		return err
	}
	client.Transport = bearer{client.Transport, k.bearer}
	k.client = client
	return nil
}

// A bearer shows a token with each request.
type bearer struct {
	http.RoundTripper
	token string
}

// RoundTrip is http.RoundTripper.
func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(request)
}

// users is at how many accounts a product signs in together.
const users = 3

// run signs in with each secret once in a while, until ctx ends.
func (k *keeper) run(ctx context.Context, p *program, pace time.Duration) {
	rounds(ctx, len(k.secrets), users, pace, pace, func(i int) { k.use(ctx, p, k.secrets[i]) })
}

// use is one use of a secret, by the product itself or by its relay.
func (k *keeper) use(ctx context.Context, p *program, one *secret) {
	var err error
	if one.service.forward != nil {
		err = one.service.forward(one.account)
	} else {
		err = k.signIn(ctx, p, one)
	}
	if ctx.Err() != nil {
		return
	}
	k.uses.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[one] = true
	if err != nil && k.failures.Add(1) <= 20 {
		k.trouble = append(k.trouble, fmt.Sprintf("%s %s as %s of %s: %v", time.Now().Format("15:04:05.000"), k.title, one.account, one.customer.name, err))
	}
}

// signIn signs in. Where the value is refused, or the server hangs up, it is fetched again and
// tried once more; what is refused then has failed.
func (k *keeper) signIn(ctx context.Context, p *program, one *secret) error {
	value, err := k.value(ctx, p, one)
	if err != nil || one.service.signIn(one.account, value) == nil {
		return err
	}
	if value, err = k.fetch(ctx, p, one); err != nil {
		return err
	}
	return one.service.signIn(one.account, value)
}

// value returns what is kept of a secret, asked anew after a while. While the vault cannot be
// asked the product goes on with what it has.
func (k *keeper) value(ctx context.Context, p *program, one *secret) (string, error) {
	k.mu.Lock()
	have := k.kept[one]
	k.mu.Unlock()
	if have.value != "" && time.Since(have.at) < keptFor {
		return have.value, nil
	}
	value, err := k.fetch(ctx, p, one)
	if err != nil && have.value != "" {
		return have.value, nil
	}
	return value, err
}

// fetch asks the vault.
func (k *keeper) fetch(ctx context.Context, p *program, one *secret) (string, error) {
	var answer struct {
		Value string `json:"value"`
	}
	if err := p.ask(ctx, k.client, http.MethodPost, "/vault/secrets/"+one.id+"/reveal", nil, &answer); err != nil {
		return "", err
	}
	value, err := base64.StdEncoding.DecodeString(answer.Value)
	if err == nil && len(value) == 0 {
		err = errors.New("the vault gave an empty value")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", tallystick.ErrDamaged, err)
	}
	k.given.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[one] = given{string(value), time.Now()}
	return string(value), nil
}

// visited counts the secrets that were used.
func (k *keeper) visited() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.used)
}

// troubles returns the first failures.
func (k *keeper) troubles() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.trouble)
}
