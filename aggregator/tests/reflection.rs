//! gRPC's reflection: it describes the contract's every call to members, and nothing to others.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::{CHARTER, Member, Site, channel, rule};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use protos::rpc::Rpc;
use tonic::Status;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

async fn ask(channel: Channel, question: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await?.into_inner();
    Ok(answers.message().await?.unwrap().message_response.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_told_every_call_of_the_contract_and_a_stranger_none() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let abbey = Member::join(&site, addr, "abbey", 1).await;
    let own = || channel(addr, &site.authority, Some((&abbey.certificate, &abbey.tls)));
    let listed = ask(own(), MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let names: BTreeSet<String> = listed.service.into_iter().map(|service| service.name).collect();
    let mut calls = BTreeSet::new();
    for service in ["Enrolment", "Federation"].map(|name| format!("plainchant.v1.{name}")) {
        assert!(names.contains(&service), "{names:?}");
        let file = ask(own(), MessageRequest::FileContainingSymbol(service.clone())).await.unwrap();
        let MessageResponse::FileDescriptorResponse(file) = file else { panic!("{file:?}") };
        let file = FileDescriptorProto::decode(file.file_descriptor_proto[0].as_slice()).unwrap();
        let found = file.service.iter().find(|one| format!("{}.{}", file.package(), one.name()) == service).unwrap();
        calls.extend(found.method.iter().map(|method| format!("/{service}/{}", method.name())));
    }
    assert_eq!(calls, Rpc::all().map(|rpc| rpc.path().to_owned()).collect());
    let stranger = ask(channel(addr, &site.authority, None), MessageRequest::ListServices(String::new())).await;
    assert_eq!(rule(&stranger.unwrap_err()), "no-certificate");
}
