// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A signingIn is one request for a token on its way.
type signingIn struct {
	world    *World
	tenant   *Tenant // nil if there is none of that name
	name     string  // of the tenant, as it was asked for
	now      time.Time
	id, corr guid
	address  netip.Addr
	host     string
	asked    bool // for its correlation id
	version2 bool // of the endpoint

	clientID, secret, grantType, scope, resource string
	assertion, assertionType                     string
	agent                                        *agent

	principal *Object
	who       party
	used      *credentialUsed
	uti       guid
}

func (w *World) newSigningIn(r *http.Request, t *Tenant) *signingIn {
	return &signingIn{
		world: w, tenant: t, name: r.PathValue("tenant"), now: w.Now(), id: w.guid(), corr: w.guid(), address: w.caller(r), host: r.Host,
		asked: strings.EqualFold(r.Header.Get("Return-Client-Request-Id"), "true"), version2: strings.Contains(r.URL.Path, "/v2.0/"),
		agent: &agent{}, used: &credentialUsed{kind: "none"},
	}
}

func (s *signingIn) tenantID() string {
	if s.tenant == nil {
		return ""
	}
	return s.tenant.ID
}

// grant decides, and returns the body of an answer that grants a token.
func (s *signingIn) grant() ([]byte, *failure) {
	if s.tenant == nil {
		return nil, fail(90002, "Tenant '"+s.name+"' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.")
	}
	if s.grantType != "client_credentials" {
		return nil, fail(70003, "The app requested an unsupported grant type '"+s.grantType+"'.")
	}
	if s.clientID == "" {
		return nil, fail(90014, "The required field 'client_id' is missing from the credential. Ensure that you have all the necessary parameters for the login request.")
	}
	s.who = party{appID: s.clientID}
	s.tenant.mu.Lock()
	s.principal = s.tenant.principals[s.clientID]
	enabled := false
	if s.principal != nil {
		state := s.principal.at(viewLogin)
		enabled = state.Enabled
		s.who.principalID, s.who.name, s.who.owner = s.principal.ID, state.DisplayName, s.principal.owner
	}
	s.tenant.mu.Unlock()
	to, f := s.target()
	if f != nil {
		return nil, f
	}
	if s.principal == nil {
		return nil, fail(700016, "Application with identifier '"+s.clientID+"' was not found in the directory '"+s.tenant.Name+"'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.")
	}
	if s.used, f = s.authenticated(); f != nil {
		return nil, f
	}
	if !enabled {
		f := fail(7000112, "Application '"+s.clientID+"'("+s.who.name+") is disabled.")
		f.used = s.used
		return nil, f
	}
	return s.token(to)
}

// A target is the API that a token is for.
type target struct {
	api      *api
	own      *Object // an application's own API, in place of Microsoft's
	audience string
}

// target finds the API that scope or resource names. Other scopes beside it are
// those that clients always send.
func (s *signingIn) target() (target, *failure) {
	name := s.resource
	if s.version2 {
		if s.scope == "" {
			return target{}, fail(90014, "The request body must contain the following parameter: 'scope'.")
		}
		for _, scope := range strings.Fields(s.scope) {
			if base, ok := strings.CutSuffix(scope, "/.default"); ok && name == "" {
				name = base
			} else if !slices.Contains([]string{"openid", "offline_access", "profile", "email"}, scope) {
				return target{}, fail(1002012, "The provided value for scope "+scope+" is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).")
			}
		}
	}
	if name == "" {
		return target{}, fail(90014, "The request body must contain the following parameter: 'resource' or 'scope'.")
	}
	if a := apiByURI(name); a != nil {
		audience := name
		if !strings.Contains(name, "://") {
			audience = a.uris[0]
		}
		s.who.resource, s.who.resourceName = a.appID, a.name
		return target{api: a, audience: audience}, nil
	}
	appID := strings.ToLower(strings.TrimPrefix(name, "api://"))
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	if own := s.tenant.principals[appID]; own != nil {
		s.who.resource, s.who.resourceName = appID, own.at(viewLogin).DisplayName
		return target{own: own, audience: appID}, nil
	}
	return target{}, fail(500011, "The resource principal named "+name+" was not found in the tenant named "+s.tenant.Name+". This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.")
}

// authenticated checks what the client shows, and returns it.
func (s *signingIn) authenticated() (*credentialUsed, *failure) {
	if s.assertion != "" && s.assertionType == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return s.byAssertion()
	}
	if s.secret == "" {
		return nil, fail(7000216, "")
	}
	sum := sha256.Sum256([]byte(s.secret))
	for _, state := range s.states() {
		for _, secret := range state.Secrets {
			if subtle.ConstantTimeCompare(sum[:], secret.sum[:]) != 1 {
				continue
			}
			used := s.tenant.credential(credentialUsed{kind: "clientSecret", keyID: secret.KeyID})
			if s.now.After(secret.End) {
				f := fail(7000222, "The provided client secret keys for app '"+s.clientID+"' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.")
				f.used = used
				return nil, f
			}
			return used, nil
		}
	}
	return nil, fail(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '"+s.clientID+"'.")
}

// states are where credentials are looked for: the service principal, and the
// application wherever it lives.
func (s *signingIn) states() []*State {
	s.tenant.mu.Lock()
	all := []*State{s.principal.at(viewLogin)}
	s.tenant.mu.Unlock()
	if app := s.world.home(s.clientID); app != nil {
		app.tenant.mu.Lock()
		if app.exists(viewLogin) {
			all = append(all, app.at(viewLogin))
		}
		app.tenant.mu.Unlock()
	}
	return all
}

// token issues one with the roles that the principal has at the API now.
func (s *signingIn) token(to target) ([]byte, *failure) {
	g := grantOf{tenant: s.tenant, principal: s.principal, name: s.who.name, audience: to.audience, method: "2", uti: s.world.guid(), issued: s.now, version2: to.own != nil}
	if s.used.kind == "clientSecret" {
		g.method = "1"
	}
	s.tenant.mu.Lock()
	for _, a := range s.principal.at(viewLogin).Roles {
		if a.API == s.who.resource {
			g.roles = append(g.roles, a.Value)
		}
	}
	if to.own != nil {
		s.who.resourceSPN = to.own.ID
	} else {
		s.who.resourceSPN = s.tenant.principal(to.api.appID).ID
	}
	s.tenant.mu.Unlock()
	token, expires, err := s.world.issue(g)
	if err != nil {
		return nil, fail(90014, err.Error())
	}
	s.uti = g.uti
	seconds := int(expires.Seconds()) - 1
	if s.version2 {
		return []byte(`{"token_type":"Bearer","expires_in":` + strconv.Itoa(seconds) + `,"ext_expires_in":` + strconv.Itoa(seconds) + `,"access_token":"` + token + `"}`), nil
	}
	ends := s.now.Add(expires).Unix()
	return []byte(`{"token_type":"Bearer","expires_in":"` + strconv.Itoa(seconds) + `","ext_expires_in":"` + strconv.Itoa(seconds) + `","expires_on":"` + strconv.FormatInt(ends, 10) +
		`","not_before":"` + strconv.FormatInt(s.now.Unix(), 10) + `","resource":"` + to.audience + `","access_token":"` + token + `"}`), nil
}

// log enters the attempt into the tenant's sign-ins.
func (s *signingIn) log(f *failure) {
	entry := signIn{at: s.now.UnixNano(), id: s.id, corr: s.corr, uti: s.uti, address: s.address, agent: s.agent, with: s.used}
	if f != nil {
		// No token was issued: what stands in its place names the request.
		entry.code, entry.uti, entry.with = int32(f.code), s.id, f.used
		if f.used == nil {
			entry.with = s.tenant.credential(credentialUsed{kind: s.attempted()})
		}
	}
	entry.who = s.tenant.party(s.who)
	s.tenant.record(entry)
}

// attempted is the kind of credential that a request showed.
func (s *signingIn) attempted() string {
	switch {
	case s.assertion != "":
		return "clientAssertion"
	case s.secret != "":
		return "clientSecret"
	}
	return "none"
}

// head writes the headers that every answer of the token endpoint has.
func (s *signingIn) head(rw http.ResponseWriter) {
	h := rw.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("x-ms-request-id", s.id.String())
	h.Set("x-ms-ests-server", "2.1.22000.0 - EMULATOR ProdSlices")
	if s.asked {
		h.Set("client-request-id", s.corr.String())
	}
}

// refuse answers an error as the token endpoint words it.
func (s *signingIn) refuse(rw http.ResponseWriter, f *failure) {
	r, at := refusals[f.code], s.now.Format("2006-01-02 15:04:05Z")
	code := strconv.Itoa(f.code)
	text, _ := json.Marshal(map[string]any{ // texts and numbers alone: it cannot fail
		"error": r.word,
		"error_description": "AADSTS" + code + ": " + cmp.Or(f.detail, r.text) + "\r\nTrace ID: " + s.id.String() + "\r\nCorrelation ID: " + s.corr.String() +
			"\r\nTimestamp: " + at,
		"error_codes": []int{f.code}, "timestamp": at, "trace_id": s.id.String(), "correlation_id": s.corr.String(),
		"error_uri": "https://" + s.host + "/error?code=" + code,
	})
	s.head(rw)
	rw.WriteHeader(r.status)
	rw.Write(text)
}
