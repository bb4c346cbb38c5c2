// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"cmp"
	"errors"
	"slices"
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
		reader: func(Settings) ReadFunc { return newEntraReader(graphMembers, (*entraSignIn).emit) },
	}
}

func entraDiagnosticFormat() Format {
	return Format{
		Name: "entra-signin-diagnostic", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "category", "properties") && strings.Contains(record, "SignInLogs")
		},
		reader: func(Settings) ReadFunc { return newEntraReader(diagnosticMembers, (*entraSignIn).ofDiagnostic) },
	}
}

func entraLogAnalyticsFormat() Format {
	return Format{
		Name: "entra-signin-la", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "ServicePrincipalId") && (hasMembers(record, "CreatedDateTime") || hasMembers(record, "TimeGenerated")) && !hasMembers(record, "RequestUri")
		},
		reader: func(Settings) ReadFunc { return newEntraReader(analyticsMembers, (*entraSignIn).ofAnalytics) },
	}
}

// What the three shapes call by different names.
const (
	_ = iota
	inID
	inTime
	inAddress
	inCorrelation
	inUTI
	inKeyID
	inThumbprint
	inFederated
	inCredential
	inPrincipal
	inApp
	inResource
	inTenant      // of the resource
	inOtherTenant // where the first is not named
	inResourceName
	inName
	inSession
	inAgent
	inUser
	inKinds
	inStatus
	inError
	inFailure
	inEnvelope
	inEnvelopeTenant
	inEnvelopeTime
	inEnvelopeCategory
	inEnvelopeResult
	inWorkspace
	inGenerated
	inAll
)

// graphMembers are those of a signIn object.
var graphMembers = members{
	"id": {value: inID}, "createdDateTime": {value: inTime}, "ipAddress": {value: inAddress}, "correlationId": {value: inCorrelation},
	"uniqueTokenIdentifier": {value: inUTI}, "servicePrincipalCredentialKeyId": {value: inKeyID},
	"servicePrincipalCredentialThumbprint": {value: inThumbprint}, "federatedCredentialId": {value: inFederated},
	"clientCredentialType": {value: inCredential}, "servicePrincipalId": {value: inPrincipal}, "appId": {value: inApp},
	"resourceId": {value: inResource}, "resourceTenantId": {value: inTenant}, "tenantId": {value: inOtherTenant},
	"resourceDisplayName": {value: inResourceName}, "servicePrincipalName": {value: inName}, "sessionId": {value: inSession},
	"userAgent": {value: inAgent}, "userId": {value: inUser}, "signInEventTypes": {value: inKinds, raw: true},
	"status": {value: inStatus, inside: members{"errorCode": {value: inError}, "failureReason": {value: inFailure}}},
}

// diagnosticMembers are those of an envelope.
var diagnosticMembers = members{
	"properties": {value: inEnvelope, inside: graphMembers}, "tenantId": {value: inEnvelopeTenant}, "time": {value: inEnvelopeTime},
	"category": {value: inEnvelopeCategory}, "resultType": {value: inEnvelopeResult},
}

// analyticsMembers are the columns of a row.
var analyticsMembers = members{
	"Id": {value: inID}, "CreatedDateTime": {value: inTime}, "TimeGenerated": {value: inGenerated}, "TimeGenerated [UTC]": {value: inGenerated},
	"IPAddress": {value: inAddress}, "CorrelationId": {value: inCorrelation}, "UniqueTokenIdentifier": {value: inUTI},
	"AADTenantId": {value: inOtherTenant}, "TenantId": {value: inWorkspace}, "ResultType": {value: inError}, "ResultDescription": {value: inFailure},
	"ServicePrincipalCredentialKeyId": {value: inKeyID}, "ServicePrincipalCredentialThumbprint": {value: inThumbprint},
	"FederatedCredentialId": {value: inFederated}, "ClientCredentialType": {value: inCredential}, "ServicePrincipalId": {value: inPrincipal},
	"AppId": {value: inApp}, "ResourceIdentity": {value: inResource}, "ResourceTenantId": {value: inTenant},
	"ResourceDisplayName": {value: inResourceName}, "ServicePrincipalName": {value: inName}, "SessionId": {value: inSession}, "Agent": {value: inAgent}, "UserAgent": {value: inAgent},
}

// An entraSignIn is one sign-in. There can be many millions, so what a record
// needs is made once.
type entraSignIn struct {
	members *template
	at      cursor
	in      [inAll]string
	u       tallystick.Use
	person  bool // the record is of a log of people
	texts   memo
}

// newEntraReader returns what reads records with such members; of says what
// becomes of their values.
func newEntraReader(wanted members, of func(*entraSignIn, Sink) error) ReadFunc {
	s := &entraSignIn{members: newTemplate(wanted, nil)}
	return func(record string, sink Sink) error {
		s.in, s.at = [inAll]string{}, cursor{text: record}
		if err := s.members.read(&s.at, s.in[:]); err != nil {
			return err
		}
		if err := s.at.end(); err != nil {
			return err
		}
		return of(s, sink)
	}
}

func (s *entraSignIn) ofDiagnostic(sink Sink) error {
	in := &s.in
	if in[inEnvelope] == "" {
		return errors.New("expected an envelope with properties")
	}
	// A storage account holds the categories of a tenant side by side.
	category := in[inEnvelopeCategory]
	s.person = category != "" && !strings.Contains(category, "ServicePrincipal")
	in[inTenant] = cmp.Or(in[inEnvelopeTenant], in[inTenant])
	in[inTime] = cmp.Or(in[inTime], in[inEnvelopeTime])
	in[inError] = cmp.Or(in[inError], in[inEnvelopeResult])
	return s.emit(sink)
}

func (s *entraSignIn) ofAnalytics(sink Sink) error {
	in := &s.in
	in[inTime] = cmp.Or(in[inTime], in[inGenerated])
	// TenantId is the workspace's id, and only stands in where the table was
	// cut down to fewer columns.
	in[inTenant] = cmp.Or(in[inOtherTenant], in[inTenant], in[inWorkspace])
	return s.emit(sink)
}

// emit checks the sign-in and gives it on.
func (s *entraSignIn) emit(sink Sink) error {
	in := &s.in
	at, err := readTime(in[inTime])
	if err != nil {
		return err
	}
	if in[inID] == "" {
		return errors.New("expected the id of the sign-in")
	}
	if person, err := s.isPerson(); err != nil || person || s.person || in[inCredential] == "managedIdentity" {
		return err // somebody with a password and a phone, or a key that only the platform holds
	}
	u := &s.u
	u.Credential = s.names()
	u.ID, u.Source, u.Side, u.Level, u.Operation = in[inID], "entra", tallystick.SideRelying, tallystick.LevelToken, "sign-in"
	u.Time, u.Until, u.Count = at, at, 1
	u.Holder, u.RelyingParty, u.Resource = in[inName], s.party(), in[inResourceName]
	u.Address, u.Agent = in[inAddress], in[inAgent]
	u.IDs.Correlation, u.IDs.Request, u.IDs.Session = in[inCorrelation], in[inID], in[inSession]
	u.Outcome, u.Detail, u.IDs.UTI = entraOutcome(in[inError]), in[inFailure], in[inUTI]
	if u.Outcome != tallystick.OutcomeSuccess {
		u.Detail = strings.TrimSpace(in[inError] + " " + in[inFailure])
		// No token was issued: what stands here names the request, and the
		// holder was never told it.
		u.IDs.UTI = ""
	}
	sink.Use(&s.u)
	return nil
}

// isPerson says whether somebody signed in, and no program.
func (s *entraSignIn) isPerson() (bool, error) {
	in := &s.in
	if in[inKinds] != "" && in[inKinds] != `["servicePrincipal"]` {
		c := cursor{text: in[inKinds]}
		kinds, err := c.strings()
		if err != nil || slices.Contains(kinds, "interactiveUser") || slices.Contains(kinds, "nonInteractiveUser") {
			return true, err
		}
	}
	return !isNone(in[inUser]) && isNone(in[inPrincipal]) && isNone(in[inKeyID]) && isNone(in[inThumbprint]), nil
}

// party names the relying party.
func (s *entraSignIn) party() string {
	tenant, resource := cmp.Or(s.in[inTenant], s.in[inOtherTenant]), s.in[inResource]
	return s.texts.of("entra:", tenant, resource, func() string { return "entra:" + tenant + "/" + resource })
}

// names returns the names of the credential. A sign-in that tells no key is
// named by its application, so that it can be seen; its token may still tell
// whose it is.
func (s *entraSignIn) names() []string {
	in, names := &s.in, s.u.Credential[:0]
	if key := in[inKeyID]; !isNone(key) {
		names = append(names, s.lower("entra-key:", key))
	}
	if print := in[inThumbprint]; !isNone(print) {
		names = append(names, s.texts.of("x5t:", print, "", func() string { return thumbprintName(print) }))
	}
	if len(names) == 0 && !isNone(in[inFederated]) {
		names = append(names, s.lower("entra-federated:", in[inFederated]))
	}
	if len(names) == 0 {
		names = append(names, s.lower("account:entra-app/", in[inApp]))
	}
	return names
}

func (s *entraSignIn) lower(kind, value string) string {
	return s.texts.of(kind, value, "", func() string { return kind + strings.ToLower(value) })
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
