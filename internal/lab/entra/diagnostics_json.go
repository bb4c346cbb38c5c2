// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An envelope is what Azure Monitor puts around every record.
type envelope struct {
	Time             string `json:"time"`
	ResourceID       string `json:"resourceId"`
	OperationName    string `json:"operationName"`
	OperationVersion string `json:"operationVersion"`
	Category         string `json:"category"`
	TenantID         string `json:"tenantId"`
	ResultType       string `json:"resultType,omitempty"`
	ResultSignature  string `json:"resultSignature"`
	ResultDetail     string `json:"resultDescription,omitempty"`
	DurationMs       int64  `json:"durationMs"`
	CallerIPAddress  string `json:"callerIpAddress,omitempty"`
	CorrelationID    string `json:"correlationId"`
	Identity         string `json:"identity,omitempty"`
	Level            int    `json:"Level"`
	Location         string `json:"location,omitempty"`
	Properties       any    `json:"properties"`
}

// ticks writes a time as these logs do, to 100 ns.
func ticks(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func resourceOf(tenant string) string { return "/tenants/" + tenant + "/providers/Microsoft.aadiam" }

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type signInStatus struct {
	ErrorCode     int    `json:"errorCode"`
	FailureReason string `json:"failureReason,omitempty"`
}

type locationJSON struct {
	City            string `json:"city"`
	CountryOrRegion string `json:"countryOrRegion"`
}

// signInProperties are those of a sign-in of a service principal, as public
// samples have them, and those of the columns that came later.
type signInProperties struct {
	ID                      string        `json:"id"`
	CreatedDateTime         string        `json:"createdDateTime"`
	UserID                  *string       `json:"userId"`
	AppID                   string        `json:"appId"`
	IPAddress               string        `json:"ipAddress"`
	Status                  signInStatus  `json:"status"`
	Location                *locationJSON `json:"location,omitempty"`
	CorrelationID           string        `json:"correlationId"`
	ConditionalAccessStatus string        `json:"conditionalAccessStatus"`
	IsInteractive           bool          `json:"isInteractive"`
	TokenIssuerType         string        `json:"tokenIssuerType"`
	Processing              []keyValue    `json:"authenticationProcessingDetails"`
	ResourceDisplayName     string        `json:"resourceDisplayName"`
	ResourceID              string        `json:"resourceId"`
	ResourcePrincipal       string        `json:"resourceServicePrincipalId,omitempty"`
	PrincipalName           string        `json:"servicePrincipalName"`
	PrincipalID             string        `json:"servicePrincipalId"`
	CrossTenantAccessType   string        `json:"crossTenantAccessType"`
	KeyID                   string        `json:"servicePrincipalCredentialKeyId,omitempty"`
	Thumbprint              string        `json:"servicePrincipalCredentialThumbprint,omitempty"`
	FederatedCredentialID   string        `json:"federatedCredentialId,omitempty"`
	ClientCredentialType    string        `json:"clientCredentialType,omitempty"`
	UniqueTokenIdentifier   string        `json:"uniqueTokenIdentifier,omitempty"`
	ASN                     int           `json:"autonomousSystemNumber,omitempty"`
	UserAgent               string        `json:"userAgent,omitempty"`
	AppOwnerTenantID        string        `json:"appOwnerTenantId,omitempty"`
	IncomingTokenType       string        `json:"incomingTokenType"`
	Protocol                string        `json:"authenticationProtocol"`
}

func signInEnvelope(s SignIn, f Faults) envelope {
	at := networkOf(s.Address)
	p := signInProperties{
		ID: s.ID, CreatedDateTime: strings.TrimSuffix(ticks(s.Time), "Z") + "+00:00", AppID: s.AppID, IPAddress: s.Address.String(),
		Status: signInStatus{ErrorCode: s.ErrorCode}, CorrelationID: s.CorrelationID, ConditionalAccessStatus: "notApplied", TokenIssuerType: "AzureAD",
		Processing:          []keyValue{{"Azure AD App Authentication Library", s.Library}},
		ResourceDisplayName: s.Resource, ResourceID: s.ResourceID, ResourcePrincipal: s.ResourcePrincipalID,
		PrincipalName: s.PrincipalName, PrincipalID: s.PrincipalID, CrossTenantAccessType: "none",
		KeyID: s.KeyID, Thumbprint: s.Thumbprint, FederatedCredentialID: s.FederatedID, ClientCredentialType: s.CredentialType,
		UniqueTokenIdentifier: s.UTI, ASN: at.asn, UserAgent: s.UserAgent, AppOwnerTenantID: s.OwnerTenantID,
		IncomingTokenType: "none", Protocol: "none",
	}
	if at.city != "" {
		p.Location = &locationJSON{at.city, at.country}
	}
	if f.NoTokenIdentifier {
		p.UniqueTokenIdentifier = ""
	}
	if f.ForeignKeyHidden && s.OwnerTenantID != s.TenantID {
		p.KeyID, p.Thumbprint = "", ""
	}
	e := envelope{
		Time: ticks(s.Time), ResourceID: resourceOf(s.TenantID), OperationName: "Sign-in activity", OperationVersion: "1.0", Category: CategorySignIns,
		TenantID: s.TenantID, ResultType: strconv.Itoa(s.ErrorCode), ResultSignature: "None", CallerIPAddress: s.Address.String(),
		CorrelationID: s.CorrelationID, Identity: s.PrincipalName, Level: 4, Location: at.country, Properties: p,
	}
	if s.ErrorCode != 0 {
		p.Status.FailureReason, e.ResultDetail = s.Failure, s.Failure
		e.Properties = p
	}
	return e
}

func auditEnvelope(t *Tenant, a Audit) envelope {
	return envelope{
		Time: ticks(a.Time), ResourceID: resourceOf(t.ID), OperationName: a.Activity, OperationVersion: "1.0", Category: CategoryAudits,
		TenantID: t.ID, ResultSignature: "None", CallerIPAddress: addressText(a.Actor.Address), CorrelationID: a.CorrelationID,
		Identity: cmp.Or(a.Actor.Name, a.Actor.User), Level: 4, Properties: json.RawMessage(a.JSON),
	}
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// callProperties are those of a record of MicrosoftGraphActivityLogs.
type callProperties struct {
	APIVersion         string  `json:"apiVersion"`
	AppID              string  `json:"appId"`
	ATContent          string  `json:"atContent"`
	ClientAuthMethod   string  `json:"clientAuthMethod"`
	ClientRequestID    string  `json:"clientRequestId"`
	DurationMs         int64   `json:"durationMs"`
	IdentityProvider   string  `json:"identityProvider"`
	IPAddress          string  `json:"ipAddress"`
	Location           string  `json:"location"`
	OperationID        string  `json:"operationId"`
	RequestID          string  `json:"requestId"`
	RequestMethod      string  `json:"requestMethod"`
	RequestURI         string  `json:"requestUri"`
	ResponseSizeBytes  int     `json:"responseSizeBytes"`
	ResponseStatusCode int     `json:"responseStatusCode"`
	Roles              string  `json:"roles"`
	Scopes             *string `json:"scopes"`
	PrincipalID        string  `json:"servicePrincipalId"`
	SignInActivityID   string  `json:"signInActivityId"`
	TenantID           string  `json:"tenantId"`
	TimeGenerated      string  `json:"timeGenerated"`
	TokenIssuedAt      string  `json:"tokenIssuedAt"`
	UniqueTokenID      string  `json:"uniqueTokenId"`
	UserAgent          string  `json:"userAgent"`
	UserID             *string `json:"userId"`
	Wids               string  `json:"wids"`
}

// region is where Graph answers, and what its logs write as location.
const region = "West Europe"

func callEnvelope(c Call) envelope {
	version, uri := "v1.0", c.URI
	if u, err := url.Parse(c.URI); err == nil {
		version, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		u.Scheme, u.Host = "https", "graph.microsoft.com" // the name by which everybody else calls it
		uri = u.String()
	}
	p := callProperties{
		APIVersion: version, AppID: c.Claims.AppID, ClientAuthMethod: c.Claims.Method, ClientRequestID: c.ClientRequestID, DurationMs: c.Duration.Milliseconds(),
		IdentityProvider: "https://sts.windows.net/" + c.Tenant.ID + "/", IPAddress: addressText(c.Address), Location: region,
		OperationID: c.OperationID, RequestID: c.RequestID, RequestMethod: c.Method, RequestURI: uri,
		ResponseSizeBytes: c.ResponseBytes, ResponseStatusCode: c.Status, Roles: strings.Join(c.Claims.Roles, " "), PrincipalID: c.Claims.ObjectID,
		SignInActivityID: c.Claims.UTI, TenantID: c.Tenant.ID, TimeGenerated: ticks(c.Time), TokenIssuedAt: c.Claims.Issued.Format(time.RFC3339),
		UniqueTokenID: c.Claims.UTI, UserAgent: c.UserAgent,
	}
	return envelope{
		Time: ticks(c.Time), ResourceID: strings.ToUpper(resourceOf(c.Tenant.ID)), OperationName: "Microsoft Graph Activity", OperationVersion: version,
		Category: CategoryGraphActivity, TenantID: c.Tenant.ID, ResultSignature: strconv.Itoa(c.Status), DurationMs: p.DurationMs,
		CallerIPAddress: p.IPAddress, CorrelationID: c.RequestID, Level: 4, Location: region, Properties: p,
	}
}
