//! Runs that succeed: which calls are made, on which servers, and what waits for what.

use super::stack::stack;

#[tokio::test(start_paused = true)]
async fn parallel_walks_all_servers_side_by_side() {
    stack(3)
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download switch restart health prove prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn parallel_leaves_the_balancer_alone() {
    stack(2)
        .balanced()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn one_server_alone() {
    stack(1)
        .run()
        .await
        .did(
            "
            web1: connect lock download switch restart health prove prune unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn serial_walks_one_server_after_the_other_out_of_the_balancer() {
    stack(3)
        .serial()
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            web3: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2 web3: prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn serial_without_a_balancer() {
    stack(2)
        .serial()
        .unbalanced()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: download switch restart health prove
            web2: download switch restart health prove
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn serial_ahead_prepares_all_servers_before_the_first_turn() {
    stack(2)
        .serial()
        .ahead()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web1: look note drain switch stay-out restart health prove restore
            web2: look note drain switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn rolling_walks_in_batches_of_a_size() {
    stack(5)
        .rolling("2")
        .run()
        .await
        .did(
            "
            web1 web2 web3 web4 web5: connect
            web1: lock
            web2 web3 web4 web5: lock
            web1 web2: look note drain download switch stay-out restart health prove restore
            web3 web4: look note drain download switch stay-out restart health prove restore
            web5: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2 web3 web4 web5: prune
            web2 web3 web4 web5: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn rolling_walks_a_ramp_of_sizes() {
    stack(5)
        .rolling("1,50%")
        .run()
        .await
        .did(
            "
            web1 web2 web3 web4 web5: connect
            web1: lock
            web2 web3 web4 web5: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2 web3: look note drain download switch stay-out restart health prove restore
            web4 web5: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2 web3 web4 web5: prune
            web2 web3 web4 web5: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn rolling_without_a_balancer() {
    stack(3)
        .rolling("2")
        .unbalanced()
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2: download switch restart health prove
            web3: download switch restart health prove
            web1 web2 web3: prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn rolling_ahead_prepares_all_servers_before_the_first_batch() {
    stack(3)
        .rolling("2")
        .ahead()
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download
            web1 web2: look note drain switch stay-out restart health prove restore
            web3: look note drain switch stay-out restart health prove restore
            lb: look
            web1 web2 web3: prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn no_server_is_switched_before_all_are_prepared() {
    stack(3)
        .takes("web2 download", 4)
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download switch restart health prove prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn no_batch_begins_before_the_last_server_of_the_one_before_is_back() {
    stack(4)
        .rolling("2")
        .takes("web1 restart", 4)
        .run()
        .await
        .did(
            "
            web1 web2 web3 web4: connect
            web1: lock
            web2 web3 web4: lock
            web1 web2: look note drain download switch stay-out restart
            web2: health prove
            web1: health prove
            web1 web2: restore
            web3 web4: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2 web3 web4: prune
            web2 web3 web4: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_server_does_not_wait_for_its_mates_between_switch_and_check() {
    stack(2)
        .takes("web1 switch", 3)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch
            web2: restart health
            web1: restart | web2: prove
            web1: health prove
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_before_all_servers_serve() {
    stack(2)
        .takes("web2 prove", 3)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn one_server_migrates_after_all_are_prepared_and_before_any_is_switched() {
    stack(3)
        .toml("[migrate]\nrun = \"migrate\"\nserver = \"web2\"\n")
        .run()
        .await
        .did(
            "
            web1 web2 web3: connect
            web1: lock
            web2 web3: lock
            web1 web2 web3: download
            web2: migrate
            web1 web2 web3: switch restart health prove prune
            web2 web3: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn in_a_walk_the_migration_runs_in_the_first_turn() {
    stack(2)
        .serial()
        .toml("[migrate]\nrun = \"migrate\"\n")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download migrate switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn links_and_builds_follow_the_transfer_on_each_server() {
    let toml = "[shared]\ndirs = [\"log\"]\n[build]\nrun = [\"one\", \"two\"]\n";
    stack(2)
        .toml(toml)
        .takes("web1 download", 2)
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: download
            web2: link
            web1: link | web2: build
            web1 web2: build
            web1: build
            web1 web2: switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_behind_a_balancer() {
    stack(2)
        .serial()
        .first_deploy()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_transfers_nothing() {
    stack(2)
        .rollback()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1 web2: switch restart health prove prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_serial_rollback() {
    stack(2)
        .serial()
        .rollback()
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain switch stay-out restart health prove restore
            web2: look note drain switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}

#[tokio::test(start_paused = true)]
async fn a_server_found_out_of_its_balancer_is_put_back_as_it_was_found() {
    stack(2)
        .serial()
        .found_out("web2")
        .run()
        .await
        .did(
            "
            web1 web2: connect
            web1: lock
            web2: lock
            web1: look note drain download switch stay-out restart health prove restore
            web2: look note drain download switch stay-out restart health prove restore
            lb: look
            web1 web2: prune
            web2: unlock
            web1: unlock
            ",
        )
        .exits(0);
}
