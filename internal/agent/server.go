// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// claimWait is how long a claim waits for work; who has none comes again.
	claimWait = 25 * time.Second
	// pollEvery is how often it looks, because steps may become ready by another node.
	pollEvery = time.Second
	// seeEvery is how exact the last time is kept that an agent came.
	seeEvery = 20 * time.Second
)

// A Server answers agents: an http.Handler for what is below Root. Its listener shows
// Authority.Certificate, asks for client certificates without demanding or verifying them
// (tls.RequestClientCert), because who enrols has none, and is not behind a proxy that ends TLS.
type Server struct {
	*Agents
	Steps Steps
	// Poll is how often a claim that waits looks for work; 0 is a second.
	Poll time.Duration
	// Failed is told of errors that are not the agent's doing; it may be nil.
	Failed func(r *http.Request, err error)

	mu   sync.Mutex
	told map[string]time.Time // guarded by mu; which wish for a look each agent knows of
}

// A caller is an agent that was found to be who it says.
type caller struct {
	name, key string
	address   string
	actor     gate.Actor
	row       store.Agent
}

// operations are what an agent can ask for, by the last word of the path.
var operations = map[string]func(*Server, *http.Request, caller) (any, error){
	"renew": (*Server).renew, "hello": (*Server).hello, "view": (*Server).view, "claim": (*Server).claim,
	"extend": (*Server).extend, "done": (*Server).done, "over": (*Server).over,
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	answer, err := s.serve(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	text, err := json.Marshal(answer)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, text)
}

func write(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // who has gone away asks again
}

func (s *Server) serve(r *http.Request) (any, error) {
	word, ok := strings.CutPrefix(r.URL.Path, Root)
	do, known := operations[word]
	switch {
	case !ok || !known && word != "enrol":
		return nil, fmt.Errorf("%w: there is nothing at %s", tallystick.ErrNotFound, r.URL.Path)
	case r.TLS == nil:
		return nil, fmt.Errorf("%w: agents come over TLS only", tallystick.ErrInvalid)
	case r.Method != http.MethodPost:
		return nil, fmt.Errorf("%w: use POST", tallystick.ErrInvalid)
	case word == "enrol":
		return s.enrol(r)
	}
	who, err := s.who(r)
	if err != nil {
		return nil, err
	}
	return do(s, r, who)
}

// who finds out which agent it is. TLS has shown that it has the key of the certificate;
// whether that is still its own is looked up each time, so that one that was removed is out
// at once.
func (s *Server) who(r *http.Request) (caller, error) {
	ctx := r.Context()
	c := caller{address: hostOf(r.RemoteAddr)}
	if len(r.TLS.PeerCertificates) == 0 {
		return c, s.refuse(ctx, c, "it has shown no certificate", nil)
	}
	shown := r.TLS.PeerCertificates[0]
	name, err := s.Authority.checkAgent(ctx, shown)
	if err != nil {
		if !errors.Is(err, tallystick.ErrUnsigned) {
			return c, err
		}
		return c, s.refuse(ctx, c, "its certificate is not of an agent, or not valid now", nil)
	}
	c.name, c.key = name, string(tallystick.KeyIDOf(shown.RawSubjectPublicKeyInfo))
	c.actor = gate.Actor{Name: "agent/" + name, Role: gate.Client, Via: "agent"}
	if err := s.stillGood(ctx, &c); err != nil {
		return c, err
	}
	if err := s.Gate.Check(ctx, c.actor, gate.WorkAtDoors, strings.TrimPrefix(r.URL.Path, Root)); err != nil {
		return c, err
	}
	if s.Now().Sub(c.row.Seen) > seeEvery || c.row.KeyBefore != "" {
		err = s.DB.SeeAgent(ctx, name, c.key, c.address, "", s.Now())
	}
	return c, err
}

// stillGood looks up whether the key of a caller is that of the agent.
func (s *Server) stillGood(ctx context.Context, c *caller) error {
	row, err := s.DB.Agent(ctx, c.name)
	if err != nil {
		return s.refuse(ctx, *c, "there is no such agent", err)
	}
	if !row.Removed.IsZero() {
		return s.refuse(ctx, *c, "it was removed", nil)
	}
	if c.key != row.Key && c.key != row.KeyBefore {
		return s.refuse(ctx, *c, "another certificate took over from its own", nil)
	}
	c.row = row
	return nil
}

// refuse turns somebody away, on record. A failure of the store, which says nothing about
// them, is returned as it is.
func (s *Server) refuse(ctx context.Context, c caller, reason string, err error) error {
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	c.actor.Role, c.actor.Via = gate.Nobody, "agent"
	err = s.Gate.Refuse(ctx, c.actor, gate.WorkAtDoors, "from "+c.address, fmt.Errorf("%w: %s", tallystick.ErrUnsigned, reason))
	return problem.With(err, `Let the agent enrol again: "tally agent add" on the server makes a token.`)
}

// hostOf returns the address without its port, as the record has it.
func hostOf(remote string) string {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap().String()
	}
	return remote
}

// read decodes the body strictly: one JSON value, and no member that is not known.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is something behind it")
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: the message has more than %d bytes", tallystick.ErrInvalid, tooLarge.Limit)
	}
	return fmt.Errorf("%w: the message is not as it should be: %w", tallystick.ErrInvalid, err)
}

// enrol makes the first certificate of an agent that shows its token.
func (s *Server) enrol(r *http.Request) (any, error) {
	var request enrolRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	csr, key, err := readCSR(request.CSR)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	now := s.Now()
	name, err := s.DB.EnrolAgent(ctx, hashOf(request.Secret), key, now, now.Add(CertificateLife))
	if err != nil {
		return nil, s.refuse(ctx, caller{address: hostOf(r.RemoteAddr)}, "the token is unknown, used or too old", err)
	}
	return s.certify(ctx, name, csr)
}

// renew makes the next certificate of an agent.
func (s *Server) renew(r *http.Request, who caller) (any, error) {
	var request renewRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	csr, key, err := readCSR(request.CSR)
	if err != nil {
		return nil, err
	}
	if err := s.DB.RenewAgent(r.Context(), who.name, who.key, key, s.Now().Add(CertificateLife)); err != nil {
		return nil, err
	}
	return s.certify(r.Context(), who.name, csr)
}

// readCSR reads a certificate request, of which only the key counts.
func readCSR(der []byte) (*x509.CertificateRequest, string, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: the certificate request cannot be used: %w", tallystick.ErrInvalid, err)
	}
	return csr, string(tallystick.KeyIDOf(csr.RawSubjectPublicKeyInfo)), nil
}

// certify records that an agent gets a certificate, and makes it.
func (s *Server) certify(ctx context.Context, name string, csr *x509.CertificateRequest) (any, error) {
	actor := gate.Actor{Name: "agent/" + name, Role: gate.Client, Via: "agent"}
	if err := s.Gate.Check(ctx, actor, gate.IssueCertificate, "agent/"+name); err != nil {
		return nil, err
	}
	der, err := s.Authority.signAgent(ctx, name, csr.PublicKey)
	if err != nil {
		return nil, err
	}
	return certificateAnswer{Name: name, Certificate: der}, nil
}

// hello takes what the doors of an agent are.
func (s *Server) hello(r *http.Request, who caller) (any, error) {
	var request helloRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if len(request.Doors) > maxDoors {
		return nil, fmt.Errorf("%w: an agent has at most %d doors", tallystick.ErrInvalid, maxDoors)
	}
	if len(request.Connect) > maxPlaces || slices.ContainsFunc(request.Connect, func(where string) bool { return len(where) > maxPlace }) {
		return nil, fmt.Errorf("%w: an agent may connect to at most %d networks and hosts", tallystick.ErrInvalid, maxPlaces)
	}
	rows := make([]store.AgentDoor, len(request.Doors))
	for i, d := range request.Doors {
		if !nameForm.MatchString(d.Name) {
			return nil, fmt.Errorf("%w: %.100q is no name for a door", tallystick.ErrInvalid, d.Name)
		}
		d.Agent, d.Connect = who.name, request.Connect
		about, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		rows[i] = store.AgentDoor{Agent: who.name, Name: d.Name, About: string(about)}
	}
	if err := s.DB.SetAgentDoors(r.Context(), who.name, rows); err != nil {
		return nil, err
	}
	return struct{}{}, s.DB.SeeAgent(r.Context(), who.name, who.key, who.address, cut(request.Version, maxVersion), s.Now())
}

const (
	maxVersion = 100
	maxPlace   = 300 // of one place to connect to, in bytes
)

// cut bounds a text, in bytes.
func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// view takes how a door stands. All that an agent says of its doors is bounded, because a plan
// has it in memory.
func (s *Server) view(r *http.Request, who caller) (any, error) {
	var request viewRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	row := store.AgentDoor{Agent: who.name, Name: request.Door, Error: cut(request.Error, maxText), Looked: s.Now()}
	if row.Error == "" {
		if request.View == nil {
			request.View = &driver.View{}
		}
		text, err := json.Marshal(request.View)
		if err != nil {
			return nil, err
		}
		row.View = string(text)
	}
	return struct{}{}, s.DB.SetAgentView(r.Context(), row, maxViews)
}

// claim answers with steps as soon as there are some, and with none after a while. That
// the agent may still work is looked up each time before it is given anything.
func (s *Server) claim(r *http.Request, who caller) (any, error) {
	var request claimRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), claimWait)
	defer cancel()
	for {
		answer, err := s.claimNow(ctx, who, min(max(request.Limit, 1), maxClaim))
		if err != nil && len(answer.Steps) == 0 {
			return nil, err
		}
		if err != nil && s.Failed != nil { // what was taken up has to be done all the same
			s.Failed(r, err)
		}
		answer.Look = s.tell(who)
		if len(answer.Steps) > 0 || answer.Look {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return claimAnswer{Steps: []Leased{}}, nil
		case <-time.After(cmp.Or(s.Poll, pollEvery)):
		}
		if err := s.stillGood(ctx, &who); err != nil {
			if ctx.Err() != nil {
				return claimAnswer{Steps: []Leased{}}, nil
			}
			return nil, err
		}
	}
}

// tell says whether an agent is to look at its doors, once for each time that somebody
// wants it. One who began before this process was there looks at the doors by itself.
func (s *Server) tell(who caller) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = map[string]time.Time{}
	}
	if !who.row.Wanted.After(s.told[who.name]) {
		return false
	}
	s.told[who.name] = who.row.Wanted
	return true
}

// claimNow takes steps up, and gives their doors the names that the agent knows. Beside
// an error there may be steps.
func (s *Server) claimNow(ctx context.Context, who caller, limit int) (claimAnswer, error) {
	steps, err := s.Steps.Claim(ctx, who.name, limit)
	if err != nil && ctx.Err() != nil {
		err = nil // its time is over
	}
	answer := claimAnswer{Steps: []Leased{}}
	for _, one := range steps {
		door, ok := strings.CutPrefix(one.Task.Door, who.name+"/")
		if !ok {
			err = errors.Join(err, fmt.Errorf("the door %q is not one of the agent %s", one.Task.Door, who.name))
			continue
		}
		one.Task.Door = door
		answer.Steps = append(answer.Steps, one)
	}
	return answer, err
}

func (s *Server) extend(r *http.Request, who caller) (any, error) {
	var request extendRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	return struct{}{}, s.Steps.Extend(r.Context(), who.name, request.Step, request.Fence)
}

func (s *Server) done(r *http.Request, who caller) (any, error) {
	var request doneRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if ErrorOf(request.Error, request.Kind) != nil {
		request.Result = doors.Result{}
		request.Kind = KindOf(ErrorOf(request.Error, request.Kind)) // a word that is not known is other
	}
	return struct{}{}, s.Steps.Finish(r.Context(), who.name, request.Step, request.Fence, request.Result, cut(request.Error, maxText), request.Kind)
}

func (s *Server) over(r *http.Request, _ caller) (any, error) {
	var request overRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if len(request.Names) > maxNames {
		return nil, fmt.Errorf("%w: ask for at most %d", tallystick.ErrInvalid, maxNames)
	}
	names, err := s.Steps.Over(r.Context(), request.Names)
	return overAnswer{Names: names}, err
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err).Public()
	if p.Status >= http.StatusInternalServerError && s.Failed != nil && r.Context().Err() == nil {
		s.Failed(r, err)
	}
	text, _ := json.Marshal(failure{Kind: KindOf(err), Detail: p.Detail, Hint: p.Hint}) // texts can always be written
	write(w, p.Status, text)
}
