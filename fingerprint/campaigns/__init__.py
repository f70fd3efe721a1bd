"""Campaigns: which accounts work together, and what the pool of them does.

    sample    a uniform sample of each account's exchanges beside its window
    hours     a sample of the hours in which each account is active
    numbered  what accounts number: "Question 1017: ..."
    links     pairs of accounts that send the same thing to different ends
    lists     lists that accounts continue, each with its own numbers
    signs     links beside text: payment, network, registration, hours, lists
    course    who takes over from whom, who starts, stops and takes up a new model together
    groups    communities of linked accounts
    evidence  the pooled test of a community, and the rate of false discoveries over all of them
    cases     what an analyst is told: the contract; statements, case_page and figures make it readable
    skeletons the masked wording of forms, from the traffic read again, where it is asked for
    share     indicators for another provider; match reads them

Sharing alone is no guilt: a link says that two accounts cannot be told apart in what they send, and only what a
group does together convicts it.
"""
