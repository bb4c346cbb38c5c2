// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// Sign-ins of service principals with Entra ID, in the three shapes in which
// people have them. The fields are those of Microsoft's beta signIn resource and
// of the table AADServicePrincipalSignInLogs.

func entraSignInFormat() Format {
	return Format{
		Name: "entra-signin", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "id", "createdDateTime") &&
				(hasMembers(record, "servicePrincipalId") || hasMembers(record, "appId") || hasMembers(record, "uniqueTokenIdentifier") || hasMembers(record, "servicePrincipalCredentialKeyId"))
		},
		reader: func(Settings) ReadFunc { return newEntraSignIns().read },
	}
}

func entraDiagnosticFormat() Format {
	return Format{
		Name: "entra-signin-diagnostic", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "category", "properties") && strings.Contains(record, "SignInLogs")
		},
		reader: stateless(readEntraDiagnostic),
	}
}

func entraLogAnalyticsFormat() Format {
	return Format{
		Name: "entra-signin-la", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "ServicePrincipalId") && (hasMembers(record, "CreatedDateTime") || hasMembers(record, "TimeGenerated")) && !hasMembers(record, "RequestUri")
		},
		reader: stateless(readEntraLogAnalytics),
	}
}

// An entraSignIn collects what the three shapes call by different names.
type entraSignIn struct {
	u                                 tallystick.Use
	time, tenant, resource            string
	keyID, thumbprint, federated      string
	servicePrincipal, app, credential string
	error, failure                    string
	userID                            string
	user                              bool      // signed in as a person
	statusTemplate                    *template // or nil
}

// entraSignIns reads signIn objects, of which there can be many millions: what a
// record needs is made once.
type entraSignIns struct {
	members, status *template
	signIn          entraSignIn
	at              cursor
	take            func(key string) error
}

func newEntraSignIns() *entraSignIns {
	e := &entraSignIns{members: newTemplate(), status: newTemplate()}
	e.take = func(key string) error { return e.signIn.graphMember(&e.at, key) }
	return e
}

func (e *entraSignIns) read(record string, sink Sink) error {
	names := e.signIn.u.Credential
	e.signIn, e.at = entraSignIn{statusTemplate: e.status}, cursor{text: record}
	e.signIn.u.Credential = names[:0]
	if err := e.members.object(&e.at, graphWanted, e.take); err != nil {
		return err
	}
	if err := e.at.end(); err != nil {
		return err
	}
	return e.signIn.emit(sink)
}

// graphWanted says which members graphMember takes.
func graphWanted(key string) bool {
	switch key {
	case "id", "createdDateTime", "ipAddress", "correlationId", "uniqueTokenIdentifier", "servicePrincipalCredentialKeyId",
		"servicePrincipalCredentialThumbprint", "federatedCredentialId", "clientCredentialType", "servicePrincipalId", "appId",
		"resourceId", "resourceTenantId", "tenantId", "status", "resourceDisplayName", "servicePrincipalName", "sessionId",
		"userAgent", "userId", "signInEventTypes":
		return true
	}
	return false
}

func statusWanted(key string) bool { return key == "errorCode" || key == "failureReason" }

// graphMember takes a member of a signIn object.
func (s *entraSignIn) graphMember(c *cursor, key string) error {
	switch key {
	case "id":
		return c.into(&s.u.ID)
	case "createdDateTime":
		return c.into(&s.time)
	case "ipAddress":
		return c.into(&s.u.Address)
	case "correlationId":
		return c.into(&s.u.IDs.Correlation)
	case "uniqueTokenIdentifier":
		return c.into(&s.u.IDs.UTI)
	case "servicePrincipalCredentialKeyId":
		return c.into(&s.keyID)
	case "servicePrincipalCredentialThumbprint":
		return c.into(&s.thumbprint)
	case "federatedCredentialId":
		return c.into(&s.federated)
	case "clientCredentialType":
		return c.into(&s.credential)
	case "servicePrincipalId":
		return c.into(&s.servicePrincipal)
	case "appId":
		return c.into(&s.app)
	case "resourceId":
		return c.into(&s.resource)
	case "resourceTenantId":
		return c.into(&s.tenant)
	}
	return s.graphRest(c, key)
}

// graphRest takes the members that decide no match.
func (s *entraSignIn) graphRest(c *cursor, key string) error {
	switch key {
	case "tenantId":
		if s.tenant == "" {
			return c.into(&s.tenant)
		}
	case "status":
		if c.space() == '{' && s.statusTemplate != nil {
			return s.statusTemplate.object(c, statusWanted, func(name string) error { return s.statusMember(c, name) })
		} else if c.space() == '{' {
			return c.object(func(name string) error { return s.statusMember(c, name) })
		}
	case "resourceDisplayName":
		return c.into(&s.u.Resource)
	case "servicePrincipalName":
		return c.into(&s.u.Holder)
	case "sessionId":
		return c.into(&s.u.IDs.Session)
	case "userAgent":
		return c.into(&s.u.Agent)
	case "userId":
		return c.into(&s.userID)
	case "signInEventTypes":
		kinds, err := c.strings()
		for _, kind := range kinds {
			s.user = s.user || kind == "interactiveUser" || kind == "nonInteractiveUser"
		}
		return err
	}
	return c.skip()
}

func (s *entraSignIn) statusMember(c *cursor, name string) error {
	switch name {
	case "errorCode":
		return c.into(&s.error)
	case "failureReason":
		return c.into(&s.failure)
	}
	return c.skip()
}

func readEntraDiagnostic(record string, sink Sink) error {
	var s entraSignIn
	var envelopeTenant, envelopeTime, category, result string
	properties := false
	c := cursor{text: record}
	err := c.object(func(key string) error {
		switch key {
		case "properties":
			if c.space() != '{' {
				return c.skip()
			}
			properties = true
			return c.object(func(key string) error { return s.graphMember(&c, key) })
		case "tenantId":
			return c.into(&envelopeTenant)
		case "time":
			return c.into(&envelopeTime)
		case "category":
			return c.into(&category)
		case "resultType":
			return c.into(&result)
		}
		return c.skip()
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if !properties {
		return errors.New("expected an envelope with properties")
	}
	// A storage account holds the categories of a tenant side by side.
	s.user = s.user || category != "" && !strings.Contains(category, "ServicePrincipal")
	if envelopeTenant != "" {
		s.tenant = envelopeTenant
	}
	if s.time == "" {
		s.time = envelopeTime
	}
	if s.error == "" {
		s.error = result
	}
	return s.emit(sink)
}

func readEntraLogAnalytics(record string, sink Sink) error {
	var s entraSignIn
	var generated, workspaceTenant, tenant string
	c := cursor{text: record}
	err := c.object(func(key string) error {
		switch key {
		case "Id":
			return c.into(&s.u.ID)
		case "CreatedDateTime":
			return c.into(&s.time)
		case "TimeGenerated", "TimeGenerated [UTC]":
			return c.into(&generated)
		case "IPAddress":
			return c.into(&s.u.Address)
		case "CorrelationId":
			return c.into(&s.u.IDs.Correlation)
		case "UniqueTokenIdentifier":
			return c.into(&s.u.IDs.UTI)
		case "AADTenantId":
			return c.into(&tenant)
		case "TenantId":
			return c.into(&workspaceTenant)
		case "ResultType":
			return c.into(&s.error)
		}
		return s.analyticsMember(&c, key)
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if s.time == "" {
		s.time = generated
	}
	// TenantId is the workspace's id, and only stands in where the table was
	// cut down to fewer columns.
	for _, t := range []string{tenant, s.tenant, workspaceTenant} {
		if t != "" {
			s.tenant = t
			break
		}
	}
	return s.emit(sink)
}

// analyticsMember takes the columns whose values need no second look.
func (s *entraSignIn) analyticsMember(c *cursor, key string) error {
	switch key {
	case "ServicePrincipalCredentialKeyId":
		return c.into(&s.keyID)
	case "ServicePrincipalCredentialThumbprint":
		return c.into(&s.thumbprint)
	case "FederatedCredentialId":
		return c.into(&s.federated)
	case "ClientCredentialType":
		return c.into(&s.credential)
	case "ServicePrincipalId":
		return c.into(&s.servicePrincipal)
	case "AppId":
		return c.into(&s.app)
	case "ResourceIdentity":
		return c.into(&s.resource)
	case "ResourceTenantId":
		return c.into(&s.tenant)
	case "ResourceDisplayName":
		return c.into(&s.u.Resource)
	case "ServicePrincipalName":
		return c.into(&s.u.Holder)
	case "SessionId":
		return c.into(&s.u.IDs.Session)
	case "Agent":
		return c.into(&s.u.Agent)
	case "ResultDescription":
		return c.into(&s.failure)
	}
	return c.skip()
}

// emit checks the sign-in and gives it on.
func (s *entraSignIn) emit(sink Sink) error {
	u := &s.u
	at, err := readTime(s.time)
	if err != nil {
		return err
	}
	if u.ID == "" {
		return errors.New("expected the id of the sign-in")
	}
	person := s.user || !isNone(s.userID) && isNone(s.servicePrincipal) && isNone(s.keyID) && isNone(s.thumbprint)
	if person || s.credential == "managedIdentity" {
		return nil // somebody with a password and a phone, or a key that only the platform holds
	}
	u.Source, u.Side, u.Time, u.Until, u.Count = "entra", tallystick.SideRelying, at, at, 1
	u.Level, u.Operation = tallystick.LevelToken, "sign-in"
	u.Outcome, u.Detail = entraOutcome(s.error), s.failure
	if u.Outcome != tallystick.OutcomeSuccess {
		u.Detail = strings.TrimSpace(s.error + " " + s.failure)
		// No token was issued: what stands here names the request, and the
		// holder was never told it.
		u.IDs.UTI = ""
	}
	u.IDs.Request = u.ID
	u.RelyingParty = "entra:" + s.tenant + "/" + s.resource
	u.Credential = s.names()
	sink.Use(u)
	return nil
}

// names returns the names of the credential. A sign-in that tells no key is
// named by its application, so that it can be seen; its token may still tell
// whose it is.
func (s *entraSignIn) names() []string {
	names := s.u.Credential
	if !isNone(s.keyID) {
		names = append(names, "entra-key:"+strings.ToLower(s.keyID))
	}
	if !isNone(s.thumbprint) {
		names = append(names, thumbprintName(s.thumbprint))
	}
	if len(names) == 0 && !isNone(s.federated) {
		names = append(names, "entra-federated:"+strings.ToLower(s.federated))
	}
	if len(names) == 0 {
		names = append(names, "account:entra-app/"+strings.ToLower(s.app))
	}
	return names
}

// thumbprintName names a certificate by a digest of 20 or 32 bytes.
func thumbprintName(thumbprint string) string {
	kind := "x5t:"
	if len(thumbprint) > 2*20+19 || len(thumbprint) == 43 || len(thumbprint) == 44 {
		kind = "x5t-s256:"
	}
	return tallystick.NormalName(kind + thumbprint)
}

// isNone says whether a log has left an identifier out, in one of its ways.
func isNone(id string) bool {
	return id == "" || id == "00000000-0000-0000-0000-000000000000" || strings.EqualFold(id, "none")
}
