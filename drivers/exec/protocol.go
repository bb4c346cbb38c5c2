// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	version = 1
	// maxItems bounds each list of an answer; the answer as a whole has at most 1 MiB.
	maxItems = 10_000
	maxText  = 1 << 10
	// later is the exit status for "try again later", EX_TEMPFAIL of sysexits.h.
	later = 75
)

// A request is what the program reads.
type request struct {
	V         int               `json:"v"`
	Verb      string            `json:"verb"` // look, read, install, trust, block, probe, and those of rotate.go
	Now       time.Time         `json:"now"`
	New       *public           `json:"new,omitempty"`        // install, trust
	Old       *public           `json:"old,omitempty"`        // block
	Like      *public           `json:"like,omitempty"`       // trust
	Try       *public           `json:"credential,omitempty"` // probe
	Key       string            `json:"key,omitempty"`        // install, probe: PEM, PKCS #8
	CRLs      []string          `json:"crls,omitempty"`       // block: PEM
	Withdraw  bool              `json:"withdraw,omitempty"`   // trust, set-secret
	Lift      bool              `json:"lift,omitempty"`       // block
	Listeners []driver.Listener `json:"listeners,omitempty"`  // probe

	Account   string  `json:"account,omitempty"`    // of the verbs of rotation
	System    string  `json:"system,omitempty"`     // supply-secret: where the account is
	OldSecret *secret `json:"old_secret,omitempty"` // set-secret, drop-secret, test-secret, supply-secret
	NewSecret *secret `json:"new_secret,omitempty"` // the same; set-secret of what the system makes has none
	Order     string  `json:"order,omitempty"`      // set-secret, drop-secret, test-secret
	Again     bool    `json:"again,omitempty"`      // set-secret
	TryOld    bool    `json:"try_old,omitempty"`    // test-secret
}

// A public is a driver.Public in text.
type public struct {
	Certificates string   `json:"certificates,omitempty"` // PEM: the certificate, and those above it
	SSH          string   `json:"ssh,omitempty"`          // as in authorized_keys
	Account      string   `json:"account,omitempty"`
	Names        []string `json:"names,omitempty"` // in requests: all names of it
}

// An answer is what the program writes.
type answer struct {
	V       int       `json:"v"`
	Error   *problem  `json:"error,omitempty"`
	View    *view     `json:"view,omitempty"`    // look
	Held    *held     `json:"held,omitempty"`    // read
	Changed bool      `json:"changed,omitempty"` // install, trust, block
	How     []string  `json:"how,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Closed  int       `json:"closed,omitempty"` // block
	Left    []string  `json:"left,omitempty"`
	Tries   []attempt `json:"attempts,omitempty"` // probe

	Account *account `json:"account,omitempty"`      // look-account
	Made    *secret  `json:"made,omitempty"`         // set-secret, where the system makes it
	Old     []trial  `json:"old_attempts,omitempty"` // test-secret
	New     []trial  `json:"new_attempts,omitempty"` // test-secret
}

type problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

type view struct {
	Listeners   []driver.Listener `json:"listeners,omitempty"`
	Shown       []shown           `json:"shown,omitempty"`
	Accepts     []driver.Accepted `json:"accepts,omitempty"`
	Authorities []string          `json:"authorities,omitempty"` // PEM
	Denies      []string          `json:"denies,omitempty"`
	Notes       []string          `json:"notes,omitempty"`
}

type shown struct {
	public
	At   string `json:"at"`
	Live bool   `json:"live,omitempty"`
	Key  bool   `json:"key,omitempty"`
}

type held struct {
	public
	Key string `json:"key,omitempty"` // PEM
}

type attempt struct {
	Listener int    `json:"listener"` // its number in the request, from 0
	Address  string `json:"address"`
	Way      string `json:"way"`
	Outcome  string `json:"outcome"`
	Answer   string `json:"answer,omitempty"`
	Served   string `json:"served,omitempty"`
}

// ask runs the program with one request. Texts that are known, because the program has said them
// before it was told any secret, are shown as they are.
func (d *Door) ask(ctx context.Context, h driver.Host, r request, now func() time.Time, known ...string) (answer, error) {
	r.V, r.Now = version, now().UTC()
	text, err := json.Marshal(r)
	if err != nil {
		return answer{}, fmt.Errorf("couldn't write the request: %w", err)
	}
	output, err := h.Run(ctx, driver.Command{Args: d.command, Stdin: append(text, '\n'), Timeout: d.timeout})
	if err != nil {
		return answer{}, fmt.Errorf("couldn't %s by %s: %w", r.Verb, d.command[0], err)
	}
	secrets := r.secrets()
	switch output.Exit {
	case 0:
		a, err := decode(output.Stdout, secrets, known)
		if err != nil {
			return answer{}, r.unknown(err)
		}
		if a.Error != nil {
			return answer{}, a.Error.error()
		}
		return a, nil
	case later:
		return answer{}, fmt.Errorf("%w: %s says: %s", tallystick.ErrUnavailable, d.command[0], complaint(output, secrets))
	}
	return answer{}, fmt.Errorf("%s ended with exit status %d: %s", d.command[0], output.Exit, complaint(output, secrets))
}

// unknown makes an error of an answer that makes no sense. A program that was to write may have
// done so, and what it says is not the end of it then: it is asked again.
func (r request) unknown(err error) error {
	switch r.Verb {
	case "install", "trust", "block", "set-secret", "drop-secret", "supply-secret":
		return fmt.Errorf("%w: nobody knows whether the program has done %s: %s", tallystick.ErrUnavailable, r.Verb, err)
	}
	return err
}

// maxSaid is what a Host keeps of what a program says.
const maxSaid = 1 << 20

// complaint is what a program said of its failure, without what it was not to say. Its standard
// output is an answer, which may hold a key, and is quoted nowhere.
func complaint(output driver.Output, secrets []driver.Secret) string {
	if len(output.Stderr) >= maxSaid {
		return "it said more than is kept" // the end of which may be half a secret
	}
	return installing.Said(driver.Output{Stderr: []byte(driver.Redact(string(output.Stderr), secrets...))})
}

// decode reads an answer. Its errors are ErrInvalid and quote nothing of it but names of members,
// and nothing that is shown of it has one of the secrets, or what the system has made.
func decode(text []byte, secrets []driver.Secret, known []string) (answer, error) {
	var a answer
	redact := driver.Redactor(secrets...)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &kind):
			return answer{}, invalid("the answer of the program is of another form: %s is a %s", network.Quote(redact(kind.Field)), kind.Value)
		case strings.HasPrefix(err.Error(), "json: unknown field "):
			return answer{}, invalid("the answer of the program has a member that the protocol does not know: %s", network.Clean(redact(strings.TrimPrefix(err.Error(), "json: unknown field "))))
		}
		return answer{}, invalid("the answer of the program is not one JSON object of at most 1 MiB")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return answer{}, invalid("there is more than one JSON object in the answer of the program")
	}
	if a.V != version {
		return answer{}, invalid("the answer of the program is of version %d, not %d", a.V, version)
	}
	if a.Made != nil {
		made, err := a.Made.read()
		if err != nil {
			return answer{}, err
		}
		redact = driver.Redactor(append(secrets, made)...)
	}
	a.hide(redact, known)
	return a, nil
}

// error makes an error of the program's own words.
func (p *problem) error() error {
	kinds := map[string]error{
		"invalid": tallystick.ErrInvalid, "denied": tallystick.ErrDenied, "not-found": tallystick.ErrNotFound,
		"unavailable": tallystick.ErrUnavailable, "conflict": tallystick.ErrConflict, "damaged": tallystick.ErrDamaged,
	}
	if kind := kinds[p.Kind]; kind != nil {
		return fmt.Errorf("%w: the program says: %s", kind, network.Clean(p.Text))
	}
	return fmt.Errorf("the program says: %s", network.Clean(p.Text))
}

// written writes a credential for the program.
func written(p driver.Public) *public {
	text := &public{Account: p.Account, Names: p.Names()}
	for _, der := range p.Chain {
		text.Certificates += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if key, err := ssh.ParsePublicKey(p.SSH); err == nil {
		text.SSH = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	}
	return text
}

// read reads a credential of the program. Its errors quote nothing of it.
func (p public) read() (driver.Public, error) {
	var read driver.Public
	forms := 0
	if p.Certificates != "" {
		m, err := installing.ReadPEM([]byte(p.Certificates))
		if err != nil {
			return driver.Public{}, err
		}
		read.Chain = m.Chain
		forms++
	}
	if p.SSH != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(p.SSH))
		if err != nil {
			return driver.Public{}, invalid("couldn't read an SSH key of the answer")
		}
		read.SSH = key.Marshal()
		forms++
	}
	if p.Account != "" {
		read.Account = clean(p.Account)
		forms++
	}
	if forms != 1 {
		return driver.Public{}, invalid("a credential of the answer has one of certificates, ssh and account, not %d", forms)
	}
	return read, nil
}

// clean makes text of the program fit to print.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), maxText)], ""))
}

// edited returns a listener with each text of it edited.
func edited(l driver.Listener, edit func(string) string) driver.Listener {
	other := driver.Listener{Address: edit(l.Address), Protocol: edit(l.Protocol), ServerName: edit(l.ServerName)}
	for name, value := range l.Details {
		if other.Details == nil {
			other.Details = map[string]string{}
		}
		other.Details[edit(name)] = edit(value)
	}
	return other
}

func cleaned(texts []string) []string {
	var all []string
	for _, text := range texts[:min(len(texts), maxItems)] {
		all = append(all, clean(text))
	}
	return all
}
