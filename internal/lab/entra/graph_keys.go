// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"
)

// addKey adds a certificate on the word of one that is there already: the proof is a JWT
// that an existing valid key signed (application: addKey).
func (g *graphRequest) addKey() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body struct {
		KeyCredential      *keyBody
		PasswordCredential *struct{ SecretText string }
		Proof              string
	}
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	if body.KeyCredential == nil {
		return reply{}, errBadRequest("A value is required for property 'keyCredential'.")
	}
	if err := g.prove(o, body.Proof); err != nil {
		return reply{}, err
	}
	key, err := g.keyOf(*body.KeyCredential)
	if err != nil {
		return reply{}, err
	}
	g.tenant.alter(o, g.actor(), changedKeys, func(s *State) { s.Keys = append(s.Keys, key) })
	j := g.one("microsoft.graph.keyCredential")
	key.members(j, false)
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

func (g *graphRequest) removeKey() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body struct{ KeyID, Proof string }
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	if err := g.prove(o, body.Proof); err != nil {
		return reply{}, err
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changedKeys, func(s *State) *graphError {
		if !s.remove(body.KeyID) {
			return errBadRequest("No credentials found to be removed with keyId '" + body.KeyID + "'.")
		}
		return nil
	})
}

// directoryAudience is whom a proof is for: the directory itself.
const directoryAudience = AADGraph

// prove checks that the caller holds a key of the object: a JWT for the directory whose
// issuer is the object's id and that is good for no more than ten minutes.
func (g *graphRequest) prove(o *Object, proof string) *graphError {
	denied := func(why string) *graphError {
		return &graphError{http.StatusUnauthorized, "Authentication_MissingOrMalformed", "Access Token missing or malformed. " + why}
	}
	j, err := parseJWS(proof)
	if err != nil {
		return denied("The proof is not a JWT.")
	}
	if !slices.Contains(j.claims.Audience, directoryAudience) {
		return denied("The audience of the proof must be " + directoryAudience + ".")
	}
	if !strings.EqualFold(j.claims.Issuer, o.ID) {
		return denied("The issuer of the proof must be the id of the object.")
	}
	if !j.timely(g.now) || j.claims.Ends-j.claims.Begins > (10*time.Minute+time.Second).Seconds() {
		return &graphError{http.StatusUnauthorized, "Authentication_ExpiredToken", "The proof must be valid now, and for ten minutes at most."}
	}
	g.tenant.mu.Lock()
	keys := o.at(viewLogin).Keys
	g.tenant.mu.Unlock()
	for _, k := range keys {
		if !g.now.Before(k.Start) && !g.now.After(k.End) && j.signedBy(k.cert.public) {
			return nil
		}
	}
	return denied("The proof is not signed by a valid key of the object.")
}

// addPassword makes a secret, whose text is told in this answer and never again.
func (g *graphRequest) addPassword() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body struct {
		PasswordCredential struct {
			DisplayName                string
			StartDateTime, EndDateTime *time.Time
		}
	}
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	text := g.world.guid().uti() + g.world.guid().uti()[:18]
	text = text[:3] + "8Q~" + text[6:]
	secret := g.world.secret(body.PasswordCredential.DisplayName, text)
	if at := body.PasswordCredential.StartDateTime; at != nil {
		secret.Start = at.UTC()
	}
	if at := body.PasswordCredential.EndDateTime; at != nil {
		secret.End = at.UTC()
	}
	secret.sum = sha256.Sum256([]byte(text))
	if err := g.tenant.allows(secret); err != nil {
		return reply{}, err
	}
	g.tenant.alter(o, g.actor(), changedKeys, func(s *State) { s.Secrets = append(s.Secrets, secret) })
	j := g.one("microsoft.graph.passwordCredential")
	secret.members(j, text)
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

// allows says no to a secret that is good for longer than the tenant lets any be.
func (t *Tenant) allows(s Secret) *graphError {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.secretLife == 0 || s.End.Sub(s.Start) <= t.secretLife {
		return nil
	}
	return &graphError{http.StatusBadRequest, "CredentialInvalidLifetimeAsPerAppPolicy", "Credential lifetime exceeds the max value allowed as per assigned policy '" + t.ID + "'."}
}

// removePassword takes a secret away, and no certificate.
func (g *graphRequest) removePassword() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body struct{ KeyID string }
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changedKeys, func(s *State) *graphError {
		before := len(s.Secrets)
		s.Secrets = slices.DeleteFunc(s.Secrets, func(k Secret) bool { return strings.EqualFold(k.KeyID, body.KeyID) })
		if len(s.Secrets) == before {
			return errBadRequest("No password credential found with keyId '" + body.KeyID + "'.")
		}
		return nil
	})
}
