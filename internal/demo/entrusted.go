// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// How many of the connected customers entrust accounts to the vendor: one in so many.
const (
	entrustOf   = 30
	fewEntrust  = 6
	mostEntrust = 30
)

// The regions in which the vendor has hosts. The hosts of so many of them are entered.
const enteredRegions = 2

func regions() []string { return []string{"africa", "america", "asia", "europe"} }

// host is what the host of a region is called that takes in what customers entrust.
func host(region string) string { return "node-" + region }

// A secret is the password of one account that a customer has entrusted to the vendor.
type secret struct {
	service  *service
	customer *customer
	region   string
	user     *keeper
	account  string
	value    string // that gets in, until it is replaced
	before   string // that was entrusted before it, and gets in no more; "" is none
	id       string // in the vault
}

// holder is whom the vault gives it to. The relay is given it, and does not ask.
func (s *secret) holder() string {
	if s.service.forward != nil {
		return ""
	}
	return s.user.name()
}

// copied is what somebody had who read the vault when it was taken in first.
func (s *secret) copied() string { return cmp.Or(s.before, s.value) }

// key is how the vault calls it.
func (s *secret) key() string { return secretKey(s.customer.name, s.system(), s.account) }

// system is what the vault says that it opens.
func (s *secret) system() string {
	return s.service.system + "." + strings.ReplaceAll(s.customer.name, " ", "") + ".example"
}

func secretKey(customer, system, account string) string {
	return strings.Join([]string{customer, system, account}, " ")
}

// A secondWave is what customers had entrusted.
type secondWave struct {
	random   *rand.Rand // of its own: the first wave is the same without this one
	services []*service
	regions  []string // those that are entered first
	secrets  []*secret
	keepers  []*keeper
	fresh    *secret   // of an entered region; its customer has entrusted another value since, where nobody could read it
	began    time.Time // when the first was taken in

	read  time.Time       // when the hosts were asked for
	named map[string]bool // what was readable there, as Tallystick says

	working sync.WaitGroup // the keepers
	rest    context.CancelFunc
}

// stop lets the products rest, and waits until they do.
func (s *secondWave) stop() {
	s.rest()
	s.working.Wait()
}

// newSecond draws who entrusts what. The accounts are not there yet.
func (p *play) newSecond() {
	s := &secondWave{random: rand.New(rand.NewPCG(p.Seed, 37)), services: p.servers.services(), regions: regions()}
	if len(s.services) == 0 {
		return
	}
	s.random.Shuffle(len(s.regions), func(i, j int) { s.regions[i], s.regions[j] = s.regions[j], s.regions[i] })
	for _, one := range p.vendor.products {
		s.keepers = append(s.keepers, newKeeper(one.name, one.title))
	}
	some := slices.Clone(p.cloud.customers)
	s.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	for i, one := range some[:min(max(len(some)/entrustOf, fewEntrust), mostEntrust)] {
		_, number, _ := strings.Cut(one.name, " ")
		for n, service := range s.services {
			s.secrets = append(s.secrets, &secret{
				service: service, customer: one, region: s.regions[i%len(s.regions)], user: s.keepers[n%len(s.keepers)],
				account: service.account(number), value: newPassword(),
			})
		}
	}
	s.fresh = s.secrets[0]
	s.fresh.before = newPassword()
	p.second = s
}

// readable says whether a secret was within reach of who entered, as this program knows and
// Tallystick does not.
func (s *secondWave) readable(one *secret) bool {
	return one != s.fresh && slices.Contains(s.regions[:enteredRegions], one.region)
}

// passwords returns those that servers start with, and of them those of routes.
func (s *secondWave) passwords() (accounts, routes map[string]string) {
	accounts, routes = map[string]string{}, map[string]string{}
	for _, one := range s.secrets {
		if one.service.forward != nil {
			routes[one.account] = one.value
		} else if one.service.add == nil {
			accounts[one.account] = one.value
		}
	}
	return accounts, routes
}

// openAccounts makes the accounts at the servers that run already.
func (s *secondWave) openAccounts() error {
	for _, one := range s.secrets {
		if one.service.add == nil {
			continue
		}
		if err := one.service.add(one.account, one.value); err != nil {
			return err
		}
	}
	return nil
}

// entrust has the customers' values taken in: those of the older regions under a wrapping key
// that their hosts have, and, when everything was put under another one, those of the newer.
func (p *play) entrust(ctx context.Context) error {
	s := p.second
	s.began = time.Now()
	for _, one := range s.keepers {
		if err := p.program.makeToken(ctx, one); err != nil {
			return err
		}
	}
	for i, region := range s.regions {
		if i == enteredRegions {
			if err := p.rewrap(ctx); err != nil {
				return err
			}
		}
		if err := p.takeIn(ctx, region); err != nil {
			return err
		}
	}
	return p.renew(ctx, s.fresh)
}

// rewrap brings everything under a wrapping key that the older hosts do not have.
func (p *play) rewrap(ctx context.Context) error {
	next := filepath.Join(p.program.dir, "wrapping-2.key")
	if _, err := p.program.typed(ctx, "custody", "rewrap", "--to", "file", "--file", next); err != nil {
		return err
	}
	p.program.wrapping = next
	return p.program.configure(p.settings(nil))
}

// takeIn takes in what the customers of a region entrust, on its host: with the wrapping key and
// the name that a configuration of its own says.
func (p *play) takeIn(ctx context.Context, region string) error {
	config := filepath.Join(p.program.dir, host(region)+".yaml")
	if err := os.WriteFile(config, []byte(p.custody(host(region))), 0o600); err != nil {
		return err
	}
	path := filepath.Join(p.program.dir, region+".csv")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer file.Close()
	rows := csv.NewWriter(file)
	if err := rows.Write([]string{"customer", "system", "account", "opens", "holder", "value"}); err != nil {
		return err
	}
	for _, one := range p.second.secrets {
		if one.region != region {
			continue
		}
		if err := rows.Write([]string{one.customer.name, one.system(), one.account, one.service.title, one.holder(), one.copied()}); err != nil {
			return err
		}
	}
	if rows.Flush(); rows.Error() != nil {
		return rows.Error()
	}
	p.Story.Did(fmt.Sprintf("tally vault import csv %s.csv --config %s.yaml", region, host(region)))
	_, err = p.program.run(ctx, "vault", "import", "csv", path, "--config", config)
	return err
}

// renew has a customer entrust the password that it has set of its own accord.
func (p *play) renew(ctx context.Context, one *secret) error {
	path := filepath.Join(p.program.dir, "next-password")
	if err := os.WriteFile(path, []byte(one.value), 0o600); err != nil {
		return err
	}
	defer os.Remove(path)
	_, err := p.program.typed(ctx, "vault", "entrust", "--customer", one.customer.name, "--system", one.system(), "--account", one.account,
		"--holder", one.holder(), "--file", path)
	return err
}

// custody returns the part of a configuration that says where data and keys are.
func (p *play) custody(host string) string {
	return fmt.Sprintf("data: %q\ncustody: {file: %q}\nvault: {witness: %q, host: %s}\n",
		filepath.Join(p.program.dir, "data"), p.program.wrapping, filepath.Join(p.program.dir, "witness"), host)
}

// doors returns the doors of the servers, as the configuration has them.
func (s *secondWave) doors() string {
	var text strings.Builder
	for _, service := range s.services {
		var systems []string
		for _, one := range s.secrets {
			if one.service == service {
				systems = append(systems, one.system())
			}
		}
		line := func(name, door string) {
			fmt.Fprintf(&text, "  - {name: %s-%s, owner: vendor, systems: [%s], %s}\n", name, service.system, strings.Join(systems, ", "), door)
		}
		line("customers", service.door())
		if service.supply != nil {
			line("relay", service.supply())
		}
	}
	return text.String()
}

// identify asks what the vault calls each secret, and lets the products ask for them.
func (p *play) identify(ctx context.Context) error {
	for _, one := range p.second.keepers {
		if err := one.open(p.program); err != nil {
			return err
		}
	}
	ids := map[string]string{}
	err := p.program.eachPage(ctx, "/vault/secrets", url.Values{}, func(text json.RawMessage) error {
		var one vaultSecret
		err := json.Unmarshal(text, &one)
		ids[one.key()] = one.ID
		return err
	})
	if err != nil {
		return err
	}
	for _, one := range p.second.secrets {
		if one.id = ids[one.key()]; one.id == "" {
			return fmt.Errorf("%w: the vault does not have %s", tallystick.ErrNotFound, one.key())
		}
		one.user.keep(one)
	}
	return nil
}

// A vaultSecret is what the API says of one, or of a version of one that could be read.
type vaultSecret struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	System   string `json:"system"`
	Account  string `json:"account"`
	Current  bool   `json:"current"` // nothing has replaced it
}

func (v vaultSecret) key() string { return secretKey(v.Customer, v.System, v.Account) }
