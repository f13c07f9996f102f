//! The tables of an answer, and hostile text in their place.

use proptest::prelude::*;

use super::*;
use crate::balancer::facts::Admin;
use crate::balancer::haproxy::protocol;

const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
    3 web 1 w1 127.0.0.1 2 8 1 1 0 15 3 4 6 0 0 0 - 28081 - 0 0 - - 0\n\
    3 web 4 w4 127.0.0.1 2 0 1 1 2 1 0 2 0 0 0 0 - 28084 - 0 0 - - 0\n\
    3 web 5 w5 127.0.0.1 0 0 1 1 1 8 2 0 6 22 0 0 - 28085 - 0 0 - - 28999\n";
const HEADER: &str = "# pxname,svname,qcur,scur,status,weight,act,bck,type,check_status,check_code,last_chk,check_rise,check_fall,check_health,\n";

fn stat(rows: &str) -> String {
    format!("{HEADER}{rows}")
}

#[test]
fn reads_the_servers_of_a_backend() {
    let stat = stat(
        "web,w1,1,2,DRAIN,1,1,0,2,L7OK,200,\"said \"\"hi\"\", and left\",2,3,4,\nweb,w4,0,0,no check,1,0,1,2,,,,,,,\n\
         web,BACKEND,9,9,UP,1,1,0,1,,,,,,,\nother,w4,7,7,UP,1,1,0,2,,,,,,,\nweb,new,0,0,UP,1,1,0,2,,,,,,,\n",
    );
    let members = members("web", STATE, &stat).unwrap();
    assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["w1", "w4"]);
    let w1 = &members[0];
    assert_eq!((w1.admin(), w1.sessions, w1.backup), (Admin::Drain, 3, false));
    assert_eq!(w1.check_detail, "200 said \"hi\", and left");
    assert!(w1.checked() && w1.full_health());
    let w4 = &members[1];
    assert_eq!((w4.admin(), w4.sessions, w4.backup, w4.checked()), (Admin::Ready, 0, true, false));
}

#[test]
fn columns_are_found_by_name() {
    let stat = "# type,svname,pxname,check_health,check_fall,check_rise,last_chk,check_code,check_status,bck,status,scur,qcur\n\
                2,w5,web,0,3,2,Connection refused,,L4CON,0,DOWN,1,0\n";
    let members = members("web", STATE, stat).unwrap();
    assert_eq!((members.len(), members[0].status.as_str(), members[0].sessions), (1, "DOWN", 1));
    assert!(members[0].agent_enabled());
}

#[test]
fn a_missing_column_is_named() {
    let error = members("web", STATE, "# pxname,svname\n").unwrap_err();
    assert!(error.contains("no column type"), "{error}");
    let error = members("web", "2\n# be_name\n", &stat("")).unwrap_err();
    assert!(error.contains("format"), "{error}");
}

proptest! {
    #[test]
    fn hostile_text_never_panics(state in ".{0,400}", stat in ".{0,400}", count in 0usize..5) {
        let _ = protocol::sections(&state, count);
        let _ = protocol::ChangeRefusal::read(&state);
        let _ = members("web", &state, &stat);
        let _ = members("web", &format!("{STATE}{state}"), &format!("{HEADER}{stat}"));
        let _ = protocol::name(&state);
    }

    #[test]
    fn hostile_rows_never_panic(fields in proptest::collection::vec("(web|w1|2|[0-9]{1,30}|[\"#,;é\n-]{0,4})", 0..60)) {
        let _ = members("web", &format!("{STATE}{}", fields.join(" ")), &format!("{HEADER}{}", fields.join(",")));
    }

    #[test]
    fn a_csv_field_survives(field in "[ -~\n\"]{0,40}") {
        let text = format!("a,\"{}\",b\nnext", field.replace('"', "\"\""));
        let mut records = Csv { rest: &text };
        prop_assert_eq!(records.next().unwrap(), vec!["a".to_owned(), field, "b".to_owned()]);
        prop_assert_eq!(records.next().unwrap(), vec!["next".to_owned()]);
    }
}
