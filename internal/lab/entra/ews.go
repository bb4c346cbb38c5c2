// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EWSConfig says how Exchange Web Services behave.
type EWSConfig struct {
	// Disabled is the state of tenants since 1 October 2026: EWSEnabled is false,
	// and only the applications of AllowedApps may come.
	Disabled    bool
	AllowedApps []string // EwsAllowedAppIDs
	// MaxConcurrency is how many requests of one application to one mailbox are
	// answered at once; zero: 27.
	MaxConcurrency int
	// BackOff is how long a client is told to stay away when the server is busy;
	// zero: 5 minutes.
	BackOff time.Duration
}

// An EWS is the parts of Exchange Web Services that programs read mail with. Mail
// is that of the mailboxes which Graph shows, too.
type EWS struct {
	world *World
	audit *UnifiedAudit // nil: nothing is recorded

	mu      sync.Mutex
	config  EWSConfig      // guarded by mu
	busy    int            // requests that are still told to come back; guarded by mu
	current map[string]int // requests under way, by application and mailbox; guarded by mu
}

// NewEWS returns the service; access is recorded in audit, which may be nil. The
// caller mounts it as ServiceOutlook.
func (w *World) NewEWS(c EWSConfig, audit *UnifiedAudit) *EWS {
	e := &EWS{world: w, audit: audit, current: map[string]int{}}
	e.Configure(c)
	return e
}

// Configure changes how the service behaves from now on.
func (e *EWS) Configure(c EWSConfig) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.MaxConcurrency = cmp.Or(c.MaxConcurrency, 27)
	c.BackOff = cmp.Or(c.BackOff, 5*time.Minute)
	e.config = c
}

// Busy has the next requests answered with ErrorServerBusy.
func (e *EWS) Busy(requests int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = requests
}

const maxEWSRequest = 1 << 20

// An ewsCall is a request that was let in.
type ewsCall struct {
	rw      http.ResponseWriter
	req     *http.Request
	tenant  *Tenant
	claims  *Claims
	user    *User
	id      string
	asked   ewsRequest
	started time.Time
}

// An ewsFault is an error that ends a request.
type ewsFault struct {
	status        int
	code, message string
	backOff       time.Duration
}

func (f *ewsFault) Error() string { return f.code + ": " + f.message }

// ServeHTTP answers POST /EWS/Exchange.asmx, and administrators who ask who may use it.
func (e *EWS) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if strings.HasPrefix(req.URL.Path, adminPath) {
		rw.Header().Set(EmulatorHeader, "entra")
		e.organizationConfig(rw, req)
		return
	}
	c := &ewsCall{rw: rw, req: req, id: e.world.NewID(), started: e.world.Now()}
	e.head(c)
	switch {
	case !strings.EqualFold(req.URL.Path, "/EWS/Exchange.asmx"):
		http.NotFound(rw, req)
	case req.Method != http.MethodPost:
		rw.Header().Set("Allow", "POST")
		rw.WriteHeader(http.StatusMethodNotAllowed)
	case e.admit(c):
		if err := e.answer(c); err != nil {
			c.fail(err)
		}
	}
}

// head writes the headers that every answer has.
func (e *EWS) head(c *ewsCall) {
	h := c.rw.Header()
	h.Set(EmulatorHeader, "entra")
	h.Set("request-id", c.id)
	h.Set("X-FEServer", "LAB0FE0001")
	h.Set("X-BEServer", "LAB0MB0001")
	h.Set("X-CalculatedBETarget", "lab0mb0001.example")
	h.Set("X-DiagInfo", "LAB0MB0001")
	if strings.EqualFold(c.req.Header.Get("return-client-request-id"), "true") {
		h.Set("client-request-id", c.req.Header.Get("client-request-id"))
	}
}

// admit lets in who has a token for Exchange, as far as HTTP decides it.
func (e *EWS) admit(c *ewsCall) bool {
	tenant, claims, problem := e.world.authenticate(c.req, Exchange)
	if problem != "" {
		c.unauthorized(ewsReason(problem))
		return false
	}
	c.tenant, c.claims = tenant, claims
	if in := e.world.injected(Attempt{ServiceOutlook, tenant.ID, claims.AppID, c.req.Method, c.req.URL.Path}); in != nil {
		c.fault(&ewsFault{in.Status, cmp.Or(in.Code, "ErrorInternalServerError"), "An internal server error occurred. The operation failed.", in.RetryAfter})
		return false
	}
	if !claims.Has("full_access_as_app") {
		c.unauthorized(`2000008;reason="The token contains no permissions, or permissions can not be understood.";error_category="invalid_grant"`)
		return false
	}
	e.mu.Lock()
	closed := e.config.Disabled && !slices.ContainsFunc(e.config.AllowedApps, func(id string) bool { return strings.EqualFold(id, claims.AppID) })
	e.mu.Unlock()
	if closed {
		// That the door is shut is documented; how the answer looks is not. Public
		// clients expect 403.
		http.Error(c.rw, "EWS is disabled for this organization or application (EWSEnabled, EwsAllowedAppIDs).", http.StatusForbidden)
		return false
	}
	return true
}

// ewsReason says in the words of x-ms-diagnostics why a token was refused.
func ewsReason(problem tokenProblem) string {
	switch problem {
	case tokenExpired:
		return `2000002;reason="The access token has expired.";error_category="token_expired"`
	case tokenAudience:
		return `2000003;reason="The audience claim value is invalid.";error_category="invalid_resource"`
	}
	return `2000000;reason="The token has an invalid signature.";error_category="invalid_signature"`
}

func (c *ewsCall) unauthorized(reason string) {
	h := c.rw.Header()
	h.Set("x-ms-diagnostics", reason)
	h.Set("WWW-Authenticate", `Bearer client_id="`+Exchange+`", token_types="app_asserted_user_v1 service_asserted_app_v1", error="invalid_token"`)
	c.rw.WriteHeader(http.StatusUnauthorized)
}

// answer reads the envelope, decides whether it may, and does it.
func (e *EWS) answer(c *ewsCall) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.rw, c.req.Body, maxEWSRequest))
	if err != nil {
		return &ewsFault{status: http.StatusInternalServerError, code: "ErrorSchemaValidation", message: "The request failed schema validation: it is too long."}
	}
	if err := xml.Unmarshal(body, &c.asked); err != nil {
		return &ewsFault{status: http.StatusInternalServerError, code: "ErrorSchemaValidation", message: "The request failed schema validation: it is no SOAP envelope."}
	}
	if err := e.impersonate(c); err != nil {
		return err
	}
	leave, err := e.enter(c)
	if err != nil {
		return err
	}
	defer leave()
	op, err := e.operation(c)
	if err != nil {
		return err
	}
	c.write(http.StatusOK, op)
	e.world.noteCall(Call{
		Tenant: c.tenant, Service: ServiceOutlook, Claims: *c.claims, Time: c.started, Duration: e.world.Now().Sub(c.started),
		RequestID: c.id, ClientRequestID: cmp.Or(c.req.Header.Get("client-request-id"), c.id), OperationID: c.id,
		Method: c.req.Method, URI: "https://" + c.req.Host + c.req.URL.Path, Status: http.StatusOK, Address: e.world.caller(c.req), UserAgent: c.req.UserAgent(),
	})
	return nil
}

// impersonate finds the mailbox that a request is for. An application has none of its own.
func (e *EWS) impersonate(c *ewsCall) error {
	sid := c.asked.Header.Impersonation.ConnectingSID
	name := cmp.Or(sid.PrimarySMTPAddress, sid.SMTPAddress, sid.PrincipalName)
	switch {
	case name == "" && sid.SID == "":
		return &ewsFault{status: http.StatusInternalServerError, code: "ErrorImpersonationRequired", message: "ExchangeImpersonation SOAP header must be present for this type of OAuth token."}
	case name == "":
		return &ewsFault{status: http.StatusInternalServerError, code: "ErrorImpersonateUserDenied", message: "The account does not have permission to impersonate the requested user."}
	}
	if c.user = c.tenant.User(name); c.user == nil {
		return &ewsFault{status: http.StatusInternalServerError, code: "ErrorNonExistentMailbox", message: "The SMTP address has no mailbox associated with it."}
	}
	return nil
}

// enter counts a request, or refuses it because there are too many.
func (e *EWS) enter(c *ewsCall) (leave func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy > 0 {
		e.busy--
		return nil, &ewsFault{http.StatusInternalServerError, "ErrorServerBusy", "The server cannot service this request right now. Try again later.", e.config.BackOff}
	}
	key := c.claims.AppID + " " + c.user.ID
	if e.current[key] >= e.config.MaxConcurrency {
		return nil, &ewsFault{status: http.StatusInternalServerError, code: "ErrorExceededConnectionCount", message: "You have exceeded the available concurrent connections for your account. Try again once your other requests have completed."}
	}
	e.current[key]++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.current[key]--; e.current[key] == 0 {
			delete(e.current, key)
		}
	}, nil
}

// opened records that messages were read, or that the folder was synchronised.
func (e *EWS) opened(c *ewsCall, sync bool, messages []Message) {
	if e.audit == nil || !sync && len(messages) == 0 {
		return
	}
	folder := folderAccess{id: inboxID(c.user), path: `\Inbox`}
	for _, m := range messages {
		folder.items = append(folder.items, m.InternetMessageID)
	}
	e.audit.mail(mailAccess{
		tenant: c.tenant.ID, mailbox: c.user.PrincipalName, mailboxID: c.user.MailboxID, sync: sync,
		app: c.claims.AppID, principal: c.claims.ObjectID, uti: c.claims.UTI, issued: c.claims.Issued,
		address: e.world.caller(c.req).String(), agent: c.req.UserAgent(), at: c.started, folders: []folderAccess{folder},
	})
}

// fail answers an error, in the shape that it has.
func (c *ewsCall) fail(err error) {
	fault, ok := errors.AsType[*ewsFault](err)
	if !ok {
		fault = &ewsFault{status: http.StatusInternalServerError, code: "ErrorInternalServerError", message: "An internal server error occurred. The operation failed."}
	}
	c.fault(fault)
}

func (c *ewsCall) fault(f *ewsFault) {
	body := soapFault{
		Code:   faultCode{Types: typesNamespace, Text: "a:" + f.code},
		String: faultString{"en-US", f.message},
		Detail: faultDetail{ResponseCode: ewsText{errorsNamespace, f.code}, Message: ewsText{errorsNamespace, f.message}},
	}
	if f.backOff > 0 {
		body.Detail.XML = &faultXML{Namespace: typesNamespace, Value: faultValue{"BackOffMilliseconds", strconv.FormatInt(f.backOff.Milliseconds(), 10)}}
	}
	c.write(f.status, body)
}

func (c *ewsCall) write(status int, body any) {
	text, err := xml.Marshal(soapEnvelope{
		SOAP: soapNamespace, Header: soapHeader{serverVersion{Types: typesNamespace, Major: 15, Minor: 20, Build: 4200, Version: "V2018_01_08"}}, Body: soapBody{body},
	})
	if err != nil {
		status, text = http.StatusInternalServerError, nil
	}
	c.rw.Header().Set("Content-Type", "text/xml; charset=utf-8")
	c.rw.WriteHeader(status)
	io.WriteString(c.rw, xml.Header) // the client may be gone
	c.rw.Write(text)
}
