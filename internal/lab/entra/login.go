// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// LoginHandler serves login.microsoftonline.com: discovery, keys, and the token endpoints of
// version 1 and 2, for the client credentials grant.
func (w *World) LoginHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", w.serveInstance)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", w.serveConfiguration)
	mux.HandleFunc("GET /{tenant}/.well-known/openid-configuration", w.serveConfiguration)
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", w.serveKeys)
	mux.HandleFunc("GET /{tenant}/discovery/keys", w.serveKeys)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", w.serveToken)
	mux.HandleFunc("POST /{tenant}/oauth2/token", w.serveToken)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set(EmulatorHeader, "entra")
		mux.ServeHTTP(rw, r)
	})
}

func (w *World) serveInstance(rw http.ResponseWriter, r *http.Request) {
	answerJSON(rw, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + r.Host + "/common/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{{
			"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host},
		}},
		"tallystick_emulator": "entra",
	})
}

func (w *World) serveConfiguration(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("tenant")
	if t := w.Tenant(name); t != nil {
		name = t.ID
	} else if name != "common" && name != "organizations" {
		s := w.newSigningIn(r, nil)
		s.refuse(rw, fail(90002, "Tenant '"+name+"' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."))
		return
	}
	base, version, issuer := "https://"+r.Host+"/"+name, "", "https://sts.windows.net/"+name+"/"
	if strings.Contains(r.URL.Path, "/v2.0/") {
		version, issuer = "/v2.0", base+"/v2.0"
	}
	answerJSON(rw, http.StatusOK, map[string]any{
		"token_endpoint": base + "/oauth2" + version + "/token", "jwks_uri": base + "/discovery" + version + "/keys", "issuer": issuer,
		"authorization_endpoint":                base + "/oauth2" + version + "/authorize",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"subject_types_supported":               []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported": []string{"openid", "profile", "email", "offline_access"}, "tenant_region_scope": "EU",
		"cloud_instance_name": r.Host, "tallystick_emulator": "entra",
	})
}

func (w *World) serveKeys(rw http.ResponseWriter, r *http.Request) {
	k := w.signing
	var exponent [8]byte
	binary.BigEndian.PutUint64(exponent[:], uint64(k.key.E))
	answerJSON(rw, http.StatusOK, map[string]any{"keys": []map[string]any{{
		"kty": "RSA", "use": "sig", "kid": k.kid, "x5t": k.kid, "alg": "RS256",
		"n": base64.RawURLEncoding.EncodeToString(k.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString([]byte(strings.TrimLeft(string(exponent[:]), "\x00"))),
	}}})
}

// serveToken answers a request for a token, and enters it into the log of the tenant.
func (w *World) serveToken(rw http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(rw, r.Body, 64<<10)
	t := w.Tenant(r.PathValue("tenant"))
	s := w.newSigningIn(r, t)
	if err := r.ParseForm(); err != nil {
		s.refuse(rw, fail(90014, "The request body is malformed."))
		return
	}
	s.read(r)
	injected := w.injected(Attempt{Service: ServiceLogin, Tenant: s.tenantID(), AppID: s.clientID, Method: r.Method, Path: r.URL.Path})
	if injected != nil && !injected.Afterwards {
		s.inject(rw, injected)
		return
	}
	answer, f := s.grant()
	if t != nil {
		s.log(f)
	}
	switch {
	case injected != nil:
		s.inject(rw, injected)
	case f != nil:
		s.refuse(rw, f)
	default:
		s.head(rw)
		rw.Write(answer)
	}
}

// read takes the request out of the form.
func (s *signingIn) read(r *http.Request) {
	f := r.PostForm
	s.clientID, s.secret = strings.ToLower(f.Get("client_id")), f.Get("client_secret")
	if id, secret, ok := r.BasicAuth(); ok {
		s.clientID, s.secret = strings.ToLower(id), secret
	}
	s.grantType, s.assertion, s.assertionType = f.Get("grant_type"), f.Get("client_assertion"), f.Get("client_assertion_type")
	s.scope, s.resource = f.Get("scope"), f.Get("resource")
	sku, version := cmp.Or(r.Header.Get("X-Client-Sku"), f.Get("x-client-SKU")), cmp.Or(r.Header.Get("X-Client-Ver"), f.Get("x-client-Ver"))
	s.agent = s.world.agent(r.UserAgent(), sku, version)
	if corr, ok := parseGUID(cmp.Or(r.Header.Get("Client-Request-Id"), f.Get("client-request-id"))); ok {
		s.corr = corr
	}
}

// inject answers what a test wants to be answered.
func (s *signingIn) inject(rw http.ResponseWriter, i *Injected) {
	s.head(rw)
	if i.RetryAfter > 0 {
		rw.Header().Set("Retry-After", strconv.Itoa(int((i.RetryAfter + 999_999_999).Seconds())))
	}
	body := i.Body
	if body == "" {
		text, _ := json.Marshal(map[string]any{ // strings alone: it cannot fail
			"error": cmp.Or(i.Code, "temporarily_unavailable"), "error_description": "AADSTS90033: A transient error has occurred. Please try again.",
			"error_codes": []int{90033}, "timestamp": s.now.Format("2006-01-02 15:04:05Z"), "trace_id": s.id.String(), "correlation_id": s.corr.String(),
		})
		body = string(text)
	}
	rw.WriteHeader(i.Status)
	rw.Write([]byte(body))
}

// injected asks what a test wants to happen.
func (w *World) injected(a Attempt) *Injected {
	if inject := w.faults.Load().Inject; inject != nil {
		return inject(a)
	}
	return nil
}

// answerJSON writes a small answer.
func answerJSON(rw http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil { // only what is written here comes here
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	rw.WriteHeader(status)
	rw.Write(text)
}
