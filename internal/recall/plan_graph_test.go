// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// A smallPKI is a CA with what it signed.
type smallPKI struct {
	t    *testing.T
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newPKI(t *testing.T) *smallPKI {
	p := &smallPKI{t: t}
	p.ca, p.key = p.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Small CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return p
}

func (p *smallPKI) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.last++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(p.last), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := p.ca, p.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		p.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return made, key
}

func (p *smallPKI) client(name string) driver.Public {
	c, _ := p.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return driver.Public{Chain: [][]byte{c.Raw}}
}

func (p *smallPKI) server(name string) driver.Public {
	c, _ := p.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return driver.Public{Chain: [][]byte{c.Raw}}
}

func holderDoor(name string, p driver.Public) *seen {
	return &seen{Door: doors.Door{Name: name, Driver: "pemfile", Verbs: []string{"look", "install"}}, view: driver.View{Shown: []driver.Shown{{Public: p, At: "/" + name, Key: true}}}}
}

func relyingDoor(name string, authorities ...[]byte) *seen {
	return &seen{
		Door: doors.Door{Name: name, Driver: "nginx", Verbs: []string{"look", "trust", "block"}},
		view: driver.View{Authorities: authorities, Listeners: []driver.Listener{{Address: name + ":443", Protocol: "https"}}},
	}
}

func burntOf(list ...driver.Public) *burnt {
	b := &burnt{names: map[string]bool{}}
	for _, p := range list {
		b.names[bestName(p)] = true
		b.known = append(b.known, known{Public: p})
	}
	return b
}

func written(plan store.RecallPlan) []string {
	var list []string
	for i, s := range plan.Steps {
		list = append(list, fmt.Sprintf("%d %s/%s w%d %s targets %v from %d after %v", i, s.Phase, s.Act, s.Wave, s.Door, s.Targets, s.From, s.After))
	}
	return list
}

var earnest = tallystick.Recall{Waves: tallystick.Waves{Canary: 1, Growth: 4}, Quiet: time.Hour}

// A client certificate at two doors: one key, certificate and installation for both,
// both doors trust before, and each is proven.
func TestPlanOfAConnection(t *testing.T) {
	pki := newPKI(t)
	old, other := pki.client("svc"), pki.client("other")
	all := []*seen{holderDoor("app", old), holderDoor("bystander", other), relyingDoor("mail", pki.ca.Raw), relyingDoor("web", pki.ca.Raw), relyingDoor("stranger", newPKI(t).ca.Raw)}
	groups := blast(burntOf(old), all)
	if len(groups) != 1 || groups[0].holder.Name != "app" || groups[0].place || len(groups[0].relying) != 2 {
		t.Fatalf("the blast radius is %+v", groups)
	}
	got := written(lay(earnest, groups, nil, func(*group) string { return "ca/lab" }))
	want := []string{
		"0 prepare/key w1 app targets [0 1] from -1 after []",
		"1 prepare/issue w1  targets [0 1] from 0 after [0]",
		"2 prepare/trust w1 mail targets [0] from 1 after [1]",
		"3 prepare/gate w1  targets [] from -1 after []",
		"4 prepare/trust w2 web targets [1] from 1 after [1 3]",
		"5 activate/install w1 app targets [0 1] from 1 after [2 4]",
		"6 activate/probe w1 app targets [0] from 1 after [5]",
		"7 activate/gate w1  targets [] from -1 after []",
		"8 activate/probe w2 app targets [1] from 1 after [5 7]",
		"9 drain/drain w1  targets [0] from 1 after [6]",
		"10 drain/gate w1  targets [] from -1 after []",
		"11 drain/drain w2  targets [1] from 1 after [8 10]",
		"12 revoke/revoke w0  targets [0 1] from -1 after [9 11]",
		"13 revoke/hold w1 app targets [0] from 1 after [9 12]",
		"14 revoke/block w1 mail targets [0] from 1 after [9 12 13]",
		"15 prove/prove w1 app targets [0] from 1 after [14]",
		"16 prove/gate w1  targets [] from -1 after []",
		"17 revoke/hold w2 app targets [1] from 1 after [11 12 16]",
		"18 revoke/block w2 web targets [1] from 1 after [11 12 16 17]",
		"19 prove/prove w2 app targets [1] from 1 after [18]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The certificate of a server is replaced, revoked, and looked for; nobody drains.
func TestPlanOfAPlace(t *testing.T) {
	pki := newPKI(t)
	old := pki.server("web.lab.test")
	web := relyingDoor("web")
	web.Verbs = append(web.Verbs, "install")
	web.view.Shown = []driver.Shown{{Public: old, At: "web:443", Live: true}, {Public: old, At: "/etc/tls.pem", Key: true}}
	groups := blast(burntOf(old), []*seen{web, relyingDoor("clients only", pki.ca.Raw)})
	got := written(lay(earnest, groups, nil, func(*group) string { return "ca/lab" }))
	want := []string{
		"0 prepare/key w1 web targets [0] from -1 after []",
		"1 prepare/issue w1  targets [0] from 0 after [0]",
		"2 activate/install w1 web targets [0] from 1 after [1]",
		"3 revoke/revoke w0  targets [0] from -1 after [2]",
		"4 prove/prove w1 web targets [0] from 1 after [2 3]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Where holders share a credential each is let in where it is meant to be; a door whose
// holders do not have it is everybody's.
func TestDoorsAreMeantForTheirHolders(t *testing.T) {
	pki := newPKI(t)
	shared := pki.client("shared")
	all := []*seen{holderDoor("a", shared), holderDoor("b", shared), relyingDoor("of-a", pki.ca.Raw), relyingDoor("of-c", pki.ca.Raw), relyingDoor("of-all", pki.ca.Raw)}
	all[0].Holder, all[1].Holder, all[2].Holders, all[3].Holders = "a", "b", []string{"a"}, []string{"c"}
	got := map[string][]string{}
	for _, g := range blast(burntOf(shared), all) {
		for _, s := range g.relying {
			got[g.holder.Name] = append(got[g.holder.Name], s.Name)
		}
	}
	if d := cmp.Diff(map[string][]string{"a": {"of-a", "of-all", "of-c"}, "b": {"of-all", "of-c"}}, got); d != "" {
		t.Error(d)
	}
}

// What no door holds is blocked all the same, when a person has given its holder
// another one.
func TestPlanWithoutAHolder(t *testing.T) {
	pki := newPKI(t)
	old := pki.client("gone")
	groups := blast(burntOf(old), []*seen{relyingDoor("web", pki.ca.Raw)})
	task := manual{PlannedTarget: person(known{Public: old}, "Find out who uses it."), holdsUp: true}
	got := written(lay(earnest, groups, []manual{task}, func(*group) string { return "" }))
	want := []string{
		"0 activate/person w0  targets [1] from -1 after []",
		"1 drain/drain w1  targets [0] from -1 after []",
		"2 revoke/block w1 web targets [0] from -1 after [0 1]",
		"3 prove/prove w1 web targets [0] from -1 after [2]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// However large a plan is, each step stands behind those that it waits for, and every
// target has its proof.
func TestPlanHasNoCircle(t *testing.T) {
	pki := newPKI(t)
	b := &burnt{names: map[string]bool{}, issuers: []*x509.Certificate{pki.ca}}
	var all []*seen
	for i := range 40 {
		all = append(all, holderDoor(fmt.Sprintf("app%02d", i), pki.client(fmt.Sprint("svc", i))))
		s := relyingDoor(fmt.Sprintf("door%02d", i))
		for range i % 5 {
			p := all[len(all)-1].view.Shown[0].Public
			s.view.Accepts = append(s.view.Accepts, driver.Accepted{Name: bestName(p), As: "somebody"})
		}
		all = append(all, s)
	}
	plan := lay(earnest, blast(b, all), nil, func(*group) string { return "ca/lab" })
	proven := map[int]bool{}
	for i, s := range plan.Steps {
		for _, after := range s.After {
			if after >= i {
				t.Fatalf("step %d waits for step %d", i, after)
			}
		}
		if s.Act == tallystick.ActProve {
			proven[s.Targets[0]] = true
		}
	}
	for i, target := range plan.Targets {
		if !proven[i] {
			t.Errorf("target %d has no proof: %+v", i, target.RecallTarget)
		}
		if target.Kind == tallystick.TargetConnection && !cmp.Equal(target.Grants, []string{"somebody"}) {
			t.Errorf("target %d grants %v", i, target.Grants)
		}
	}
}

// A door that refuses by lists alone is a person's task where nobody here has the list.
func TestPlanWhereNoListIsToBeHad(t *testing.T) {
	pki := newPKI(t)
	old := pki.client("svc")
	for listed, people := range map[bool]int{true: 0, false: 1} {
		dir, web := relyingDoor("dir", pki.ca.Raw), relyingDoor("web", pki.ca.Raw)
		dir.Listed = true
		groups := blast(burntOf(old), []*seen{holderDoor("app", old), dir, web})
		groups[0].listed = listed
		plan := lay(earnest, groups, nil, func(*group) string { return "acme" })
		n := 0
		for _, s := range plan.Steps {
			if s.Act == tallystick.ActPerson && s.Phase == tallystick.PhaseRevoke {
				n++
				if text := plan.Targets[s.Targets[0]].Instructions; !strings.Contains(text, "the list of CN=Small CA is not to be had") || plan.Targets[s.Targets[0]].Relying != "dir" {
					t.Error(text)
				}
			}
		}
		if n != people {
			t.Errorf("where there is a list (%v) %d people are asked", listed, n)
		}
	}
}

// Of a CA that is burnt each door that trusts it is somebody's task, once nobody signs in there
// with what it has signed.
func TestPlanOfABurntCA(t *testing.T) {
	pki := newPKI(t)
	old := pki.client("svc")
	b := &burnt{names: map[string]bool{}, issuers: []*x509.Certificate{pki.ca}}
	web, idle := relyingDoor("web", pki.ca.Raw), relyingDoor("idle", newPKI(t).ca.Raw, pki.ca.Raw)
	idle.view.Listeners, idle.Owner = nil, "mail team"
	all := []*seen{holderDoor("app", old), web, idle, relyingDoor("other", newPKI(t).ca.Raw)}
	manuals := distrusting(b, all)
	plan := lay(earnest, blast(b, all), manuals, func(*group) string { return "" })
	got := map[string][]string{}
	for _, s := range plan.Steps {
		if s.Act != tallystick.ActPerson || s.Phase != tallystick.PhaseRevoke {
			continue
		}
		for _, after := range s.After {
			door := plan.Targets[s.Targets[0]].Relying
			got[door] = append(got[door], fmt.Sprint(plan.Steps[after].Act, " ", plan.Targets[plan.Steps[after].Targets[0]].Relying))
		}
	}
	if d := cmp.Diff(map[string][]string{"web": {"drain web"}, "idle": {"drain idle"}}, got); d != "" {
		t.Error(d)
	}
	for _, m := range manuals {
		if !strings.Contains(m.Instructions, "lets in whatever CN=Small CA signs") || m.Relying == "idle" && m.Owner != "mail team" {
			t.Errorf("%+v", m)
		}
	}
}

// A rehearsal blocks and lifts, and makes nothing.
func TestPlanOfARehearsal(t *testing.T) {
	pki := newPKI(t)
	old := pki.client("svc")
	listed := relyingDoor("dir", pki.ca.Raw)
	listed.Listed = true
	plan, not := rehearse(earnest, blast(burntOf(old), []*seen{holderDoor("app", old), relyingDoor("web", pki.ca.Raw), listed}))
	if d := cmp.Diff([]string{"the door dir is not rehearsed: its driver has no block that can be undone"}, not); d != "" {
		t.Error(d)
	}
	got := written(plan)
	want := []string{"0 revoke/block w1 web targets [0] from -1 after []", "1 prove/lift w1 web targets [0] from -1 after [0]"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !strings.Contains(string(plan.Targets[0].Facts), `"chain"`) {
		t.Errorf("the steps are not told what is blocked: %s", plan.Targets[0].Facts)
	}
}

// A credential is tried as whom it lets in, and as nobody else.
func TestPlanTriesWhatACredentialOpens(t *testing.T) {
	at := func(user string) driver.Listener {
		return driver.Listener{Address: "h:22", Protocol: "ssh", Details: map[string]string{"user": user}}
	}
	all := []driver.Listener{at("deploy"), at("root"), {Address: "h:443", Protocol: "https"}}
	for _, c := range []struct {
		grants []string
		want   []driver.Listener
	}{
		{[]string{"deploy"}, []driver.Listener{all[0], all[2]}},
		{nil, all},
	} {
		if d := cmp.Diff(c.want, listenersFor(c.grants, all)); d != "" {
			t.Errorf("%v: %s", c.grants, d)
		}
	}
	if d := cmp.Diff(all[:2], listenersFor([]string{"whom it certifies"}, all[:2])); d != "" {
		t.Error(d)
	}
}
