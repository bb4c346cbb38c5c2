// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// asked is a request as it is kept while it waits.
type asked struct {
	Request
	Role gate.Role `json:"role"`
	Came string    `json:"came"` // how the requester came in
}

func (c *CA) kept(a Admission, r Request, state, why string) (store.IssueRequest, error) {
	r.Names, r.Lifetime = &a.Names, a.Lifetime
	text, err := json.Marshal(asked{Request: r, Role: a.Who.Role, Came: a.Who.Via})
	if err != nil {
		return store.IssueRequest{}, fmt.Errorf("couldn't encode a request: %w", err)
	}
	return store.IssueRequest{
		Authority: a.Authority.Name, Profile: a.Profile.Name, Via: a.Via, Requester: a.Who.Name, Request: string(text),
		Names: a.Names.All(), State: state, Why: why, At: a.Now,
	}, nil
}

// How many requests of one requester are kept: that wait, and that were refused in an hour.
const (
	maxWaiting = 100
	maxRefused = 100
)

// forgetAfter is for how long refused and failed requests are kept.
const forgetAfter = 30 * day

// refused keeps what the policy has refused, for those who look for why.
func (c *CA) refused(ctx context.Context, a Admission, r Request, why string) error {
	row, err := c.kept(a, r, store.RequestRefused, why)
	if err != nil {
		return err
	}
	row.DecidedBy, row.Decided, row.Request = "policy", a.Now, "{}" // nobody will ask for it again
	many, err := c.DB.ManyIssueRequests(ctx, row.Requester, store.RequestRefused, a.Now.Add(-time.Hour), maxRefused)
	if err != nil || many {
		return err // the audit log has it
	}
	_, err = c.DB.AddIssueRequest(ctx, row)
	return err
}

// wait keeps a request until somebody approves it, and returns *Waiting. The same
// request is kept once.
func (c *CA) wait(ctx context.Context, a Admission, r Request, why string) error {
	if len(r.CSR) == 0 {
		return problem.With(fmt.Errorf("%w: profile %s needs somebody's approval, and this way of asking cannot wait", tallystick.ErrDenied, a.Profile.Name), "ask with a certificate request (CSR)")
	}
	if err := c.Gate.Check(ctx, a.Who, gate.IssueCertificate, "ask for approval: "+a.object()); err != nil {
		return err
	}
	row, err := c.kept(a, r, store.RequestWaiting, why)
	if err != nil {
		return err
	}
	open, err := c.DB.OpenIssueRequest(ctx, row.Requester, row.Request, a.Now.Add(-collectWithin))
	if err == nil {
		return &Waiting{Request: open.ID}
	}
	if !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	many, err := c.DB.ManyIssueRequests(ctx, row.Requester, store.RequestWaiting, time.Time{}, maxWaiting)
	if err != nil {
		return err
	}
	if many {
		return problem.With(fmt.Errorf("%w: %d requests of %s wait already", tallystick.ErrBusy, maxWaiting, row.Requester), "have some of them decided first")
	}
	row, err = c.DB.AddIssueRequest(ctx, row)
	if err != nil {
		return err
	}
	return &Waiting{Request: row.ID}
}

// collectWithin is for how long a certificate that was approved is given to whoever
// asks for the same again; later it is a new request.
const collectWithin = 7 * day

// collect returns what became of a request, when something has; the error is the
// *Waiting otherwise.
func (c *CA) collect(ctx context.Context, waiting *Waiting) (Certificate, error) {
	row, err := c.DB.IssueRequest(ctx, waiting.Request)
	if err == nil {
		row, err = c.settle(ctx, row)
	}
	if err != nil {
		return Certificate{}, err
	}
	if row.State != store.RequestIssued {
		return Certificate{}, waiting
	}
	return c.Find(ctx, Serial(hex.EncodeToString(row.Serial)))
}

// Approve fulfils a request that waits. Whoever asked cannot approve it. The policy
// and the list of blocked keys are asked again: much can change while it waits.
func (c *CA) Approve(ctx context.Context, who gate.Actor, id int64) (Certificate, error) {
	row, err := c.waiting(ctx, who, id, "approve")
	if err != nil {
		return Certificate{}, err
	}
	var a asked
	if err := json.Unmarshal([]byte(row.Request), &a); err != nil {
		return Certificate{}, fmt.Errorf("request %d: %w: %w", id, tallystick.ErrDamaged, err)
	}
	admission, err := c.understand(ctx, gate.Actor{Name: row.Requester, Role: a.Role, Via: a.Came}, a.Request)
	if err != nil {
		return Certificate{}, c.failed(ctx, who, row, err)
	}
	if err := c.KeyRefused(ctx, admission.Key()); err != nil {
		return Certificate{}, c.failed(ctx, who, row, err)
	}
	if decision := c.judge(admission, a.Request); !decision.Allowed {
		return Certificate{}, c.failed(ctx, who, row, fmt.Errorf("%w: refused because %s", tallystick.ErrDenied, decision.Why))
	}
	if err := c.Gate.Check(ctx, who, gate.ApproveRequest, fmt.Sprintf("request %d becomes %s", id, admission.object())); err != nil {
		return Certificate{}, err
	}
	// From here on it does not matter whether whoever approves is still there. Taken
	// first: of two who approve at once, one makes the certificate. What becomes of it
	// when this process dies is found by the serial; see settle.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), approvalTime)
	defer cancel()
	row.State, row.DecidedBy, row.Decided, row.Serial = store.RequestApproved, who.Name, c.Now(), admission.Serial.Bytes()
	if err := c.DB.DecideIssueRequest(ctx, store.RequestWaiting, row); err != nil {
		return Certificate{}, err
	}
	made, err := c.sign(ctx, admission)
	if err != nil {
		row.State, row.Serial = store.RequestWaiting, nil // nothing was made; somebody may try again
		return Certificate{}, errors.Join(err, c.DB.DecideIssueRequest(ctx, store.RequestApproved, row))
	}
	row.State, row.Serial = store.RequestIssued, made.Serial.Bytes()
	return made, c.DB.DecideIssueRequest(ctx, store.RequestApproved, row)
}

// approvalTime is how long the making of an approved certificate may take.
const approvalTime = 30 * time.Second

// settle finds out what became of a request that was approved by a process that died.
func (c *CA) settle(ctx context.Context, row store.IssueRequest) (store.IssueRequest, error) {
	if row.State != store.RequestApproved || c.Now().Sub(row.Decided) < 2*approvalTime {
		return row, nil
	}
	_, err := c.DB.IssuedBySerial(ctx, row.Serial)
	switch {
	case err == nil:
		row.State = store.RequestIssued
	case errors.Is(err, tallystick.ErrNotFound):
		row.State, row.Serial = store.RequestWaiting, nil
	default:
		return row, err
	}
	return row, c.DB.DecideIssueRequest(ctx, store.RequestApproved, row)
}

// RefuseRequest ends a request that waits.
func (c *CA) RefuseRequest(ctx context.Context, who gate.Actor, id int64, why string) error {
	row, err := c.waiting(ctx, who, id, "refuse")
	if err != nil {
		return err
	}
	row.State, row.Why, row.DecidedBy, row.Decided = store.RequestRefused, why, who.Name, c.Now()
	return c.DB.DecideIssueRequest(ctx, store.RequestWaiting, row)
}

// waiting reads a request on which somebody wants to decide.
func (c *CA) waiting(ctx context.Context, who gate.Actor, id int64, verb string) (store.IssueRequest, error) {
	row, err := c.DB.IssueRequest(ctx, id)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return row, err
	}
	// Of a protocol's client, such as renewal/shop, nobody knows here whose it is.
	unknown := strings.Contains(row.Requester, "/") && who.Role < gate.Admin
	if err == nil && verb == "approve" && (row.Requester == who.Name || unknown) {
		refusal := problem.With(fmt.Errorf("%w: whoever asked cannot approve", tallystick.ErrDenied), "have somebody else look at it")
		if unknown {
			refusal = problem.With(fmt.Errorf("%w: %s may be yours", tallystick.ErrDenied, row.Requester), "have an administrator look at it")
		}
		return row, c.Gate.Refuse(ctx, who, gate.ApproveRequest, fmt.Sprintf("%s request %d", verb, id), refusal)
	}
	if failure := c.Gate.Check(ctx, who, gate.ApproveRequest, fmt.Sprintf("%s request %d: %s by %s for %s", verb, id, row.Profile, row.Authority, row.Requester)); failure != nil {
		return row, failure
	}
	if err != nil {
		return row, err
	}
	if row, err = c.settle(ctx, row); err != nil {
		return row, err
	}
	if row.State != store.RequestWaiting {
		return row, fmt.Errorf("%w: request %d is %s", tallystick.ErrConflict, id, row.State)
	}
	return row, nil
}

// failed ends a request that cannot be fulfilled any more, and returns why.
func (c *CA) failed(ctx context.Context, who gate.Actor, row store.IssueRequest, why error) error {
	row.State, row.Why, row.DecidedBy, row.Decided = store.RequestFailed, why.Error(), who.Name, c.Now()
	return errors.Join(why, c.DB.DecideIssueRequest(ctx, store.RequestWaiting, row))
}

// Requests lists what was asked for and not issued at once, the newest first.
func (c *CA) Requests(ctx context.Context, who gate.Actor, state string, before int64, limit int) ([]store.IssueRequest, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, "requests"); err != nil {
		return nil, err
	}
	return c.DB.ListIssueRequests(ctx, state, before, limit)
}

// Try says what would become of a request, and does nothing.
func (c *CA) Try(ctx context.Context, who gate.Actor, as gate.Actor, r Request) (Decision, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, "try"); err != nil {
		return Decision{}, err
	}
	a, err := c.understand(ctx, as, r)
	if err != nil {
		return Decision{}, err
	}
	if err := c.KeyRefused(ctx, a.Key()); err != nil {
		return Decision{Why: err.Error()}, nil
	}
	decision := c.judge(a, r)
	decision.Approval = decision.Approval || a.Profile.Approval
	return decision, nil
}
