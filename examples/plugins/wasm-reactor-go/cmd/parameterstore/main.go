// The AWS Systems Manager Parameter Store as a reactor plugin: the host sends the requests, and signs them.
//
// Settings: `region`, and `endpoint` for another than AWS's own. Credentials are the connection's, and never come here.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"injector.example/wasm-reactor/hosthttp"
	"injector.example/wasm-reactor/reactor"
)

func init() { reactor.Register(&parameterStore{}) }

func main() {} // a reactor has no main; Go wants one

type parameterStore struct {
	Region   string `json:"region"`
	Endpoint string `json:"endpoint"`
}

func (s *parameterStore) Configure(settings json.RawMessage) error {
	if err := json.Unmarshal(settings, s); err != nil {
		return errors.New("region and endpoint are texts")
	}
	if s.Region == "" {
		return errors.New("the setting region is missing")
	}
	if s.Endpoint == "" {
		s.Endpoint = "https://ssm." + s.Region + ".amazonaws.com"
	}
	return nil
}

func (s *parameterStore) Value(message *reactor.Message) ([]byte, error) {
	name := message.Token
	if version := message.Metadata["version"]; version != "" {
		name += ":" + version
	}
	body, err := json.Marshal(map[string]any{"Name": name, "WithDecryption": true})
	if err != nil {
		return nil, err
	}
	response, err := hosthttp.Send(hosthttp.Request{
		Method: "POST",
		URL:    strings.TrimRight(s.Endpoint, "/") + "/",
		Headers: map[string]string{
			"Content-Type": "application/x-amz-json-1.1",
			"X-Amz-Target": "AmazonSSM.GetParameter",
		},
		Sign: map[string]string{"kind": "aws-sigv4", "service": "ssm", "region": s.Region},
		Body: body,
	})
	if err != nil {
		return nil, reactor.Unavailable("%s", err)
	}
	if response.Status != 200 {
		return nil, refusal(response, name)
	}
	var answer struct {
		Parameter struct{ Value string }
	}
	if err := json.Unmarshal(response.Body, &answer); err != nil {
		return nil, errors.New("the answer of the Parameter Store is not understood")
	}
	return []byte(answer.Parameter.Value), nil
}

// refusal tells the kind of an error by AWS's code for it, and quotes nothing of the rest.
func refusal(response *hosthttp.Response, name string) error {
	var problem struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(response.Body, &problem) // without a code, the status decides
	code := problem.Type[strings.LastIndex(problem.Type, "#")+1:]
	switch {
	case code == "ParameterNotFound" || code == "ParameterVersionNotFound":
		return reactor.NotFound("there is no parameter %s", name)
	case strings.HasPrefix(code, "AccessDenied"):
		return reactor.Denied("the parameter %s may not be read (%s)", name, code)
	case strings.HasPrefix(code, "Throttling") || response.Status == 429:
		return reactor.Throttled(time.Second, "the Parameter Store throttles (%s)", code)
	case credentialCodes[code] || response.Status == 401 || response.Status == 403 && code == "":
		return reactor.Credentials("the Parameter Store refuses the credentials (%d %s)", response.Status, code)
	case code == "ValidationException":
		return reactor.Invalid("the name %s is not one of a parameter", name)
	}
	return reactor.Unavailable("%s", fmt.Sprintf("the Parameter Store answered %d %s", response.Status, code))
}

var credentialCodes = map[string]bool{
	"ExpiredTokenException":               true,
	"IncompleteSignature":                 true,
	"InvalidClientTokenId":                true,
	"InvalidSignatureException":           true,
	"MissingAuthenticationToken":          true,
	"SignatureDoesNotMatch":               true,
	"UnrecognizedClientException":         true,
	"MissingAuthenticationTokenException": true,
}
