// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// secondName is what the recall of the second wave is called.
const secondName = "entrusted-accounts"

// openSecond starts the servers of the customers, and has the accounts there entrusted.
func (p *play) openSecond(ctx context.Context) error {
	var err error
	if p.servers, err = newServers(p.program.dir); err != nil {
		return err
	}
	p.Story.Say("Real servers are started, as those of the customers. The first time on a machine Samba sets a domain up for itself, which takes a while.")
	p.servers.startDirectories()
	p.newSecond()
	for _, one := range p.servers.absent {
		p.Story.Say("Not played here: %s.", one)
	}
	if p.second == nil {
		return nil
	}
	accounts, routes := p.second.passwords()
	mail := make(chan error, 1)
	go func() { mail <- p.servers.startMail(accounts, routes) }() // it takes some seconds
	return errors.Join(p.entrustAll(ctx), <-mail)
}

// entrustAll makes the accounts, and has the vault take them in.
func (p *play) entrustAll(ctx context.Context) error {
	for _, service := range p.second.services {
		p.result.Entrusted.Servers = append(p.result.Entrusted.Servers, service.server)
	}
	if err := p.second.openAccounts(); err != nil {
		return err
	}
	p.Story.Say("%d customers entrust %d accounts of theirs to the vendor, at real servers of this machine: %s.",
		len(p.second.secrets)/len(p.second.services), len(p.second.secrets), strings.Join(p.result.Entrusted.Servers, ", "))
	return p.entrust(ctx)
}

// askLineage asks what was readable from the hosts that were entered.
func (p *play) askLineage(ctx context.Context) error {
	s := p.second
	p.Story.Say("Two weeks later, which take no time here: the thief has been on the hosts of two regions as well, %s and %s, ever since they took in what customers entrust.",
		host(s.regions[0]), host(s.regions[1]))
	if err := p.identify(ctx); err != nil {
		return err
	}
	pace := max(keptFor, time.Duration(len(s.secrets))*useCost)
	working, rest := context.WithCancel(ctx)
	s.rest = rest
	for _, one := range s.keepers {
		s.working.Go(func() { one.run(working, p.program, pace) })
	}
	p.products.Go(s.working.Wait)
	p.Story.Say("The products sign in with what customers entrusted every %s. They ask the vault for it, each with a token of its own.", pace.Round(time.Second))
	s.read, s.named = time.Now(), map[string]bool{}
	for _, region := range s.regions[:enteredRegions] {
		if err := p.askHost(ctx, host(region)); err != nil {
			return err
		}
	}
	p.result.Entrusted.Reachable = len(s.named)
	p.Story.Say("The hosts of the other regions took in theirs under another wrapping key, which these two never had.")
	return until(ctx, shortly, time.Minute+10*pace, "the products have used what was entrusted", func(context.Context) (bool, error) {
		used := 0
		for _, one := range s.keepers {
			used += one.visited()
		}
		p.Story.Progress("accounts in use", used, len(s.secrets))
		return used == len(s.secrets), nil
	})
}

// askHost adds to what is named what could be read from a host and is in use.
func (p *play) askHost(ctx context.Context, host string) error {
	s := p.second
	from, to := s.span()
	p.Story.Did(fmt.Sprintf("tally vault readable --host %s --from %s --to %s", host, from, to))
	before, current, replaced := len(s.named), 0, 0
	err := p.program.eachPage(ctx, "/vault/readable", url.Values{"host": {host}, "from": {from}, "to": {to}}, func(text json.RawMessage) error {
		var one vaultSecret
		if err := json.Unmarshal(text, &one); err != nil {
			return err
		}
		if one.Current {
			s.named[one.key()] = true
			current++
		} else {
			replaced++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if current == before && current == len(s.named) {
		p.Story.Say("Readable from %s: the same %d, for it had the same wrapping key.", host, current)
		return nil
	}
	p.Story.Say("Readable from %s: %d passwords that are in use, and %d that customers have replaced since.", host, current, replaced)
	return nil
}

// useCost is what one use of an account costs this machine, generously.
const useCost = 25 * time.Millisecond

// span is when the hosts were entered, for a question.
func (s *secondWave) span() (from, to string) {
	return s.began.Truncate(time.Second).UTC().Format(time.RFC3339), s.read.Add(time.Second).Truncate(time.Second).UTC().Format(time.RFC3339)
}

// secondDeadline is far enough away for a machine with much else to do.
const secondDeadline = 15 * time.Minute

// replace has everything that was readable replaced by one recall. The hosts had the same
// wrapping key, so that what one could read the other could, too.
func (p *play) replace(ctx context.Context) error {
	from, to := p.second.span()
	what := map[string]string{"kind": tallystick.BurntEntrusted, "value": "host/" + host(p.second.regions[0]) + "@" + from + "/" + to}
	p.Story.Did(fmt.Sprintf("tally recall open entrusted:%s --name %s --deadline %s", what["value"], secondName, secondDeadline))
	began := time.Now()
	request := map[string]any{
		"name": secondName, "what": what, "why": "the hosts of two regions were entered", "deadline": began.Add(secondDeadline).UTC(),
		"quiet": 1, "waves": map[string]int{"canary": max(1, p.result.Entrusted.Reachable/20), "growth": 100, "errors": 0},
	}
	status, err := p.openRecall(ctx, secondName, request)
	if err != nil {
		return err
	}
	p.Story.Say("The plan is made, %s after it was asked for, approved and begun.", time.Since(began).Round(100*time.Millisecond))
	told := tallystick.RecallState("")
	err = until(ctx, shortly, secondDeadline+5*time.Minute, "the accounts have new passwords", func(ctx context.Context) (bool, error) {
		if err := p.get(ctx, "/recalls/"+secondName, &status); err != nil {
			return false, err
		}
		p.Story.Progress("passwords proven", status.Done, status.Total)
		if status.State != told {
			told = status.State
			p.Story.Say("The recall is %s. %s", status.State, status.Reason)
		}
		return status.State.Over() || status.State == tallystick.RecallStopped, nil
	})
	if err != nil {
		return err
	}
	if !status.Ended.IsZero() {
		p.result.Entrusted.Seconds = status.Ended.Sub(status.Started).Round(10 * time.Millisecond).Seconds()
	}
	return p.countReplaced(ctx)
}

// countReplaced looks what came of every secret.
func (p *play) countReplaced(ctx context.Context) error {
	r := &p.result.Entrusted
	list, err := p.targets(ctx, secondName, url.Values{})
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.State == string(tallystick.TargetProven) && one.Kind == tallystick.TargetConnection {
			r.Proven++
		} else {
			p.Story.Say("  %s is not proven: %s %s", one.Subject, one.State, one.Error)
		}
	}
	set := map[int64]bool{}
	err = p.program.eachPage(ctx, "/recalls/"+secondName+"/steps", url.Values{}, func(text json.RawMessage) error {
		var step tallystick.RecallStep
		err := json.Unmarshal(text, &step)
		if step.Act == tallystick.ActInstall && step.State == tallystick.StepDone && step.Door != "" {
			set[step.Target] = true
		}
		return err
	})
	r.Reset = len(set)
	given := int64(0)
	for _, one := range p.second.keepers {
		given += one.given.Load()
	}
	uses, failures := p.counts()
	p.Story.Say("%d of %d have a new password, and %d old ones are proven dead, in %.1f s. The vault gave the products %s values; of %s legitimate uses %d failed.",
		r.Reset, r.Reachable, r.Proven, r.Seconds, number(int(given)), number(int(uses)), failures)
	return err
}

// tryCopies has the thief try every value that could be read on the hosts, each once.
func (p *play) tryCopies(ctx context.Context) error {
	var copies []*secret
	for _, one := range p.second.secrets {
		if slices.Contains(p.second.regions[:enteredRegions], one.region) {
			copies = append(copies, one)
		}
	}
	errs := make([]error, len(copies))
	room := make(chan struct{}, 2*users)
	var all sync.WaitGroup
	for i, one := range copies {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = one.service.signIn(one.account, one.copied())
			}
		})
	}
	all.Wait()
	r := &p.result.Entrusted
	for i, one := range copies {
		if errs[i] == nil {
			r.ThiefAccepted++
			p.Story.Say("  the thief is let in as %s", one.account)
		} else if _, refused := errors.AsType[refusal](errs[i]); !refused {
			return fmt.Errorf("couldn't try what the thief has of %s: %w", one.account, errs[i])
		}
	}
	p.Story.Say("The thief has copied the %d values that the hosts could read, and tries each once: %d are refused.", len(copies), len(copies)-r.ThiefAccepted)
	return nil
}

// compare compares what Tallystick has named with what was readable.
func (p *play) compare() {
	r := &p.result.Entrusted
	truth := map[string]bool{}
	for _, one := range p.second.secrets {
		if p.second.readable(one) {
			truth[one.key()] = true
		}
	}
	r.Truth = len(truth)
	for _, key := range slices.Sorted(maps.Keys(p.second.named)) {
		if !truth[key] {
			r.FalseNames++
			p.Story.Say("  %s was named, and was not readable.", key)
		}
	}
	p.Story.Say("Named as readable: %d of %d that were, %d falsely.", r.Reachable-r.FalseNames, r.Truth, r.FalseNames)
}

// openRecall opens a recall, has somebody else approve it, and starts it.
func (p *play) openRecall(ctx context.Context, name string, request map[string]any) (recallStatus, error) {
	var status recallStatus
	api := p.program
	if err := api.ask(ctx, api.opener, http.MethodPost, "/recalls", request, &status); err != nil {
		return status, err
	}
	deadline := status.Deadline
	if err := api.ask(ctx, api.approver, http.MethodPost, "/recalls/"+name+"/approve", map[string]any{"deadline": deadline}, &status); err != nil {
		return status, err
	}
	return status, api.ask(ctx, api.opener, http.MethodPost, "/recalls/"+name+"/start", nil, &status)
}
